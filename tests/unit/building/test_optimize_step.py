from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portside.building.convert_step import GRAPH
from portside.building.optimize_step import OptimizeInput, optimize
from portside.building.steps import Context
from portside.building.toolbox import Toolbox
from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.errors import OptimizationFailed
from portside.model.config import EngineConfig
from portside.model.processing import ImageInput, Processing
from portside.model.signature import Signature
from portside.model.source import Converted
from portside.model.tensors import DType, TensorSpec
from portside.optimize.base import artifact_path
from portside.optimize.normalise import FuseNormalisation
from portside.optimize.simplify import Simplify

IMAGE = ImageInput("x", 8, 6, scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
SIGNATURE = Signature(
    (TensorSpec("x", DType.FLOAT32, ("batch", 3, 8, 6)),), (TensorSpec("y", DType.FLOAT32, ("batch", 4)),), "batch"
)
CONVERTED = Converted("net.onnx", ("net.onnx",), SIGNATURE, "ONNX", "onnx2onnx", "", 18, 10)


@pytest.fixture
def context(tmp_path: Path, shown: Any) -> Context:
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Identity", ["p"], ["q"]),
        helper.make_node("Flatten", ["q"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32), "w")],
    )
    before = tmp_path / "convert" / "files" / GRAPH
    before.mkdir(parents=True)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save(model, str(before / "net.onnx"))
    files = tmp_path / "optimize" / "files"
    files.mkdir(parents=True)
    return Context(Toolbox([], {}, [Simplify()], [FuseNormalisation()], ()), tmp_path, files, shown)


@pytest.mark.parametrize("fuse", [True, False])
def test_fusing_is_a_wish(context: Context, shown: Any, *, fuse: bool) -> None:
    made = optimize(OptimizeInput(CONVERTED, Processing(IMAGE), fuse), context)
    assert made.processing.image is not None
    assert made.processing.image.fused is fuse
    assert made.signature.inputs[0].dtype is (DType.UINT8 if fuse else DType.FLOAT32)
    assert [o.name for o in made.outcomes] == ["simplify", *(["fuse-normalisation"] if fuse else [])]
    session = OnnxRuntimeEngine().load(artifact_path(context.files, made), EngineConfig())[0]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 3), dtype=np.uint8)
    plain = ((pixels / 255 - 0.5) / 0.25).astype(np.float32).transpose(0, 3, 1, 2)
    weight = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    answer = session.run({"x": pixels if fuse else np.ascontiguousarray(plain)})["y"]
    np.testing.assert_allclose(answer, plain.mean((2, 3)) @ weight, rtol=1e-4, atol=1e-5)
    assert shown.calls[0] == ("start", "optimize", None)
    assert "nodes after simplify" in shown.calls[-1][1]


def test_a_graph_that_is_not_one(context: Context) -> None:
    (context.workspace / "convert" / "files" / GRAPH / "net.onnx").write_bytes(b"nonsense")
    with pytest.raises(OptimizationFailed, match=r"net\.onnx"):
        optimize(OptimizeInput(CONVERTED, Processing(IMAGE), True), context)
