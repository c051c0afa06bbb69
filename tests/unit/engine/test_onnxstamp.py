from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from portside.engine.onnxstamp import OnnxStamp, read_stamp


def write(path: Path, ir_version: int, opsets: dict[str, int], weight_bytes: int = 0) -> Path:
    weights = [numpy_helper.from_array(np.zeros(weight_bytes, np.uint8), "w")] if weight_bytes else []
    graph = helper.make_graph([], "g", [], [], weights)
    imports = [helper.make_opsetid(d, v) for d, v in opsets.items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version, producer_name="a producer")
    helper.set_model_props(model, {"key": "value"})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("opsets", "opset"),
    [
        ({"": 18}, 18),
        ({"ai.onnx": 21}, 21),
        ({"ai.onnx.ml": 3, "": 300}, 300),
        ({"": 7, "example": 1}, 7),
        ({"x": 1}, 0),
    ],
)
@pytest.mark.parametrize("weight_bytes", [0, 100_000])
def test_versions_are_read(tmp_path: Path, opsets: dict[str, int], opset: int, weight_bytes: int) -> None:
    path = write(tmp_path / "model.onnx", 10, opsets, weight_bytes)
    assert read_stamp(path) == OnnxStamp(10, opset)


def test_a_file_cut_off_anywhere_is_no_stamp_or_an_incomplete_one(tmp_path: Path) -> None:
    data = write(tmp_path / "model.onnx", 10, {"": 18}, 1000).read_bytes()
    for length in range(len(data)):
        (tmp_path / "cut.onnx").write_bytes(data[:length])
        assert read_stamp(tmp_path / "cut.onnx") in {None, OnnxStamp(10, 0), OnnxStamp(10, 18)}
    assert read_stamp(tmp_path / "gone.onnx") is None


@given(data=st.binary(max_size=300))
def test_any_bytes_end_in_an_answer(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(data)
    stamp = read_stamp(path)
    assert stamp is None or stamp.ir_version > 0
