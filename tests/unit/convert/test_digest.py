from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portside.convert.digest import external_weights, path_digest


@pytest.fixture(params=["weights.data", "a-name-that-is-longer-than-one-byte-of-length-can-say-" + "x" * 90])
def split(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """A graph and the file beside it that holds its weights."""
    weight = numpy_helper.from_array(np.arange(400, dtype=np.float32).reshape(4, 100), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 100])],
        [weight],
    )
    path = tmp_path / "net.onnx"
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save_model(model, str(path), save_as_external_data=True, location=request.param, size_threshold=0)
    return path, tmp_path / request.param


def test_weights_beside_a_graph_belong_to_its_identity(split: tuple[Path, Path]) -> None:
    path, weights = split
    assert external_weights(path) == (weights.resolve(),)
    before = path_digest(path)
    weights.write_bytes(bytes(weights.stat().st_size))
    assert path_digest(path) != before


def test_nothing_outside_the_folder_is_read(split: tuple[Path, Path]) -> None:
    path, weights = split
    name = b"../" + weights.name[3:].encode()
    path.write_bytes(path.read_bytes().replace(weights.name.encode(), name))
    (path.parent.parent / weights.name[3:]).write_bytes(b"1")
    assert external_weights(path) == ()


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04\n\x08location\x12\x05other", b"\x08\x0a\n\x08location\x12\x7fshort"]
)
def test_other_files_stand_for_themselves(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net"
    path.write_bytes(content)
    (tmp_path / "other").write_bytes(b"1")
    assert external_weights(path) == ()
    assert len(path_digest(path)) == 64
