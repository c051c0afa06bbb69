"""Small graphs that the contract is tested with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from portside.engine.base import Engine
from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.engine.openvino import OpenVinoEngine

Save = Callable[..., Path]


ENGINES: dict[str, Callable[[], Engine]] = {
    "onnxruntime": OnnxRuntimeEngine,
    "openvino": OpenVinoEngine,
    # instances as streams of one compiled model, as large weights get them
    "openvino-streams": lambda: OpenVinoEngine(copies_bytes=0),
}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]()


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes a graph: ``save(nodes, inputs, outputs, **weights)``; values are ``(name, onnx type, shape)``."""

    def write(
        nodes: Sequence[onnx.NodeProto],
        inputs: Sequence[tuple[str, int, list[object]]],
        outputs: Sequence[tuple[str, int, list[object]]],
        **weights: np.ndarray,
    ) -> Path:
        graph = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info(*v) for v in inputs],
            [helper.make_tensor_value_info(*v) for v in outputs],
            [numpy_helper.from_array(w, n) for n, w in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        onnx.checker.check_model(model)
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return path

    return write


@pytest.fixture
def mlp(save: Save) -> Path:
    """float32[batch, 4] -> y: softmax [batch, 3]; weights from a seed."""
    rng = np.random.default_rng(7)
    return save(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Gemm", ["r", "w2", "b2"], ["l"]),
            helper.make_node("Softmax", ["l"], ["y"], axis=-1),
        ],
        [("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [("y", onnx.TensorProto.FLOAT, ["batch", 3])],
        w1=rng.normal(size=(4, 16)).astype(np.float32),
        b1=rng.normal(size=16).astype(np.float32),
        w2=rng.normal(size=(16, 3)).astype(np.float32),
        b2=rng.normal(size=3).astype(np.float32),
    )
