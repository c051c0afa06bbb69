from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.engine.openvino import OpenVinoEngine
from portside.errors import OptimizationFailed
from portside.model.config import EngineConfig
from portside.optimize.base import Graph
from portside.optimize.save import load_graph, save_graph


def test_a_small_graph_is_one_file(picture_net: Callable[..., Graph], tmp_path: Path) -> None:
    proto = picture_net().proto
    assert save_graph(proto, tmp_path) == ("model.onnx",)
    assert load_graph(tmp_path / "model.onnx") == proto
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_a_large_graph_keeps_its_weights_beside_it(picture_net: Callable[..., Graph], tmp_path: Path) -> None:
    graph = picture_net()
    # The library leaves tensors under a kilobyte inside.
    graph.proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(4096, np.float32), "ballast"))
    original = copy.deepcopy(graph.proto)
    for _ in range(2):
        files = save_graph(graph.proto, tmp_path, "net.onnx", max_inline_bytes=1000)
        assert files == ("net.onnx", "net.onnx.data")
        assert (tmp_path / "net.onnx.data").stat().st_size == 4 * 4096
    assert (tmp_path / "net.onnx").stat().st_size < 5000
    assert graph.proto.ByteSize() >= original.ByteSize()
    loaded = load_graph(tmp_path / "net.onnx")
    assert loaded.ir_version == original.ir_version
    assert loaded.opset_import == original.opset_import
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in loaded.graph.initializer}
    for tensor in original.graph.initializer:
        np.testing.assert_array_equal(weights[tensor.name], onnx.numpy_helper.to_array(tensor))
    for engine in (OnnxRuntimeEngine(), OpenVinoEngine()):
        session = engine.load(tmp_path / "net.onnx", EngineConfig(engine.name))[0]
        assert session.run({"pixels": np.zeros((1, 3, 16, 12), np.float32)})["scores"].shape == (1, 5)


def test_what_is_not_a_graph_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"hello")
    for name in ("model.onnx", "gone.onnx"):
        with pytest.raises(OptimizationFailed, match=name.replace(".", r"\.")) as caught:
            load_graph(tmp_path / name)
        assert str(tmp_path) not in caught.value.message


def test_weights_that_are_missing(picture_net: Callable[..., Graph], tmp_path: Path) -> None:
    proto = picture_net().proto
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(4096, np.float32), "ballast"))
    save_graph(proto, tmp_path, max_inline_bytes=0)
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(OptimizationFailed, match="weights"):
        load_graph(tmp_path / "model.onnx")


def test_a_folder_that_is_not_there(picture_net: Callable[..., Graph], tmp_path: Path) -> None:
    with pytest.raises(OptimizationFailed, match="cannot be written"):
        save_graph(picture_net().proto, tmp_path / "gone")
