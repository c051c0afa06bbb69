from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from portside.errors import EngineFailed
from portside.verify.spoil import FACTOR, spoiled_copies


def weights(path: Path) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer}


@pytest.fixture
def graph(cnn: Any, tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(cnn.proto.SerializeToString())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "spoiled"
    made.mkdir()
    return made


def test_each_copy_has_one_other_weight_scaled(graph: Path, folder: Path) -> None:
    right, before = weights(graph), graph.read_bytes()
    spoiled = []
    for copy in spoiled_copies(graph, folder, 1):
        wrong = weights(copy.path)
        changed = [name for name in right if not np.array_equal(right[name], wrong[name])]
        assert len(changed) == 1
        assert changed[0] in copy.what
        np.testing.assert_allclose(wrong[changed[0]], right[changed[0]] * FACTOR, rtol=1e-6)
        spoiled += changed
    assert set(spoiled) == {"c1", "c2", "d1", "d2"}
    assert len(spoiled) == 4
    assert graph.read_bytes() == before


def test_the_seed_decides_the_order(graph: Path, tmp_path: Path) -> None:
    def order(seed: int, name: str) -> list[str]:
        (tmp_path / name).mkdir()
        return [copy.what for copy in spoiled_copies(graph, tmp_path / name, seed)]

    assert order(1, "a") == order(1, "b")
    assert len({tuple(order(seed, str(seed))) for seed in range(8)}) > 1


def test_weights_in_a_file_of_their_own_are_read(cnn: Any, tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save_model(cnn.copy(), str(path), save_as_external_data=True, location="net.data", size_threshold=0)
    data = (tmp_path / "net.data").read_bytes()
    copy = next(spoiled_copies(path, folder, 0))
    assert set(weights(copy.path)) == set(weights(path))
    assert (tmp_path / "net.data").read_bytes() == data


def test_large_copies_keep_their_weights_in_a_file_of_their_own(
    graph: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portside.verify.spoil._EXTERNAL_BYTES", 100)
    right = weights(graph)
    copies = list(spoiled_copies(graph, folder, 0))
    for copy in copies:
        wrong = weights(copy.path)
        assert [name for name in right if not np.array_equal(right[name], wrong[name])] == [copy.what.split()[0]]


def test_weights_in_constant_nodes_count(mlp: Any, tmp_path: Path, folder: Path) -> None:
    proto = mlp.copy()
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    del proto.graph.initializer[:]
    for name, tensor in tensors.items():
        proto.graph.node.insert(0, onnx.helper.make_node("Constant", [], [name], value=tensor))
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    assert {copy.what.split()[0] for copy in spoiled_copies(path, folder, 0)} == {"w1", "w2"}


def test_what_is_not_a_graph_is_said(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"nonsense")
    with pytest.raises(EngineFailed, match="expected an ONNX file"):
        next(spoiled_copies(path, folder, 0))
