"""Real engines and small real graphs for the passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from portside.engine.base import Engine
from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.engine.openvino import OpenVinoEngine
from portside.model.config import EngineConfig
from portside.model.processing import ImageInput, Layout, Processing
from portside.model.signature import Signature
from portside.model.tensors import Array, DType, TensorSpec
from portside.optimize.base import Graph
from portside.optimize.save import save_graph

Run = Callable[[Graph, Mapping[str, Array]], dict[str, dict[str, Array]]]
Build = Callable[..., Graph]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a graph in both engines: ``run(graph, inputs)[engine][output]``."""
    engines: list[Engine] = [OnnxRuntimeEngine(), OpenVinoEngine()]

    def go(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
        (name,) = save_graph(graph.proto, tmp_path, "run.onnx")
        return {e.name.value: e.load(tmp_path / name, EngineConfig(e.name))[0].run(inputs) for e in engines}

    return go


@pytest.fixture
def build() -> Build:
    """Makes a graph of float32 tensors: ``build(nodes, inputs, outputs, processing=…, **weights)``."""

    def make(
        nodes: Sequence[onnx.NodeProto],
        inputs: Mapping[str, list[Any]],
        outputs: Mapping[str, list[Any]],
        processing: Processing | None = None,
        **weights: np.ndarray,
    ) -> Graph:
        kind = onnx.TensorProto.FLOAT
        proto = helper.make_model(
            helper.make_graph(
                nodes,
                "graph",
                [helper.make_tensor_value_info(n, kind, s) for n, s in inputs.items()],
                [helper.make_tensor_value_info(n, kind, s) for n, s in outputs.items()],
                [numpy_helper.from_array(w, n) for n, w in weights.items()],
            ),
            opset_imports=[helper.make_opsetid("", 18)],
            ir_version=9,
        )
        onnx.checker.check_model(proto, full_check=True)
        specs = [tuple(TensorSpec(n, DType.FLOAT32, tuple(s)) for n, s in v.items()) for v in (inputs, outputs)]
        return Graph(proto, Signature(specs[0], specs[1], "batch"), processing or Processing())

    return make


@pytest.fixture
def picture_net(build: Build) -> Callable[..., Graph]:
    """A small classifier of 16x12 pictures: convolution, pooling, linear; layout, padding and channels to choose."""

    def make(
        layout: Layout = Layout.NCHW, pads: Sequence[int] = (1, 1, 1, 1), channels: int = 3, **image: Any
    ) -> Graph:
        rng = np.random.default_rng(3)
        shape = [channels, 16, 12] if layout is Layout.NCHW else [16, 12, channels]
        nodes = [
            helper.make_node("Conv", ["pixels", "w", "b"], ["c"], pads=list(pads), strides=[2, 2]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["g"]),
            helper.make_node("Flatten", ["g"], ["f"]),
            helper.make_node("Gemm", ["f", "w2"], ["scores"]),
        ]
        if layout is Layout.NHWC:
            nodes.insert(0, helper.make_node("Transpose", ["pixels"], ["p"], perm=[0, 3, 1, 2]))
            nodes[1].input[0] = "p"
        options: dict[str, Any] = {"scale": 1 / 255, "mean": (0.485,) * channels, "std": (0.229,) * channels}
        options |= image
        return build(
            nodes,
            {"pixels": ["batch", *shape]},
            {"scores": ["batch", 5]},
            Processing(image=ImageInput("pixels", 16, 12, layout=layout, **options)),
            w=rng.normal(size=(8, channels, 3, 3)).astype(np.float32),
            b=rng.normal(size=8).astype(np.float32),
            w2=rng.normal(size=(8, 5)).astype(np.float32),
        )

    return make
