"""The Python API."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import portside
from portside.errors import (
    AliasNotFound,
    InvalidImage,
    InvalidRequest,
    InvalidTensor,
    ModelNotFound,
    VerificationFailed,
)


def test_build_publishes_and_load_answers(tabular_source: tuple[Path, Path], tmp_path: Path) -> None:
    graph, rows = tabular_source
    manifest = portside.build(str(graph), "m", samples=rows, repository=tmp_path)
    assert manifest.version == 1
    model = portside.load("m", tmp_path)
    x = np.load(rows)["x"]
    answer = model(x=x)["y"]
    assert answer.shape == (32, 3)
    assert answer.sum(axis=1) == pytest.approx(np.ones(32), abs=1e-5)
    assert model(x=x[:1].tolist())["y"][0] == pytest.approx(answer[0], abs=1e-5)
    with pytest.raises(InvalidTensor, match=r"\[batch, 4\]"):
        model(x=[[1.0]])
    with pytest.raises(InvalidTensor, match="unexpected"):
        model(z=[[1.0]])


def test_an_undecided_build_raises(tabular_source: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(VerificationFailed, match="inconclusive"):
        portside.build(str(tabular_source[0]), "m", repository=tmp_path)


def test_load_predicts_pictures(published: Path, colour_source: tuple[Path, Path, Path]) -> None:
    model = portside.load("colour:1", published)
    photos = sorted(colour_source[1].iterdir())
    assert [p.classes[0].label for p in model.predict(photos)] == ["red", "green", "blue"] * 4
    assert model.predict(photos[1].read_bytes(), top_k=3)[0].classes[0].label == "green"
    with pytest.raises(InvalidImage):
        model.predict(b"not a picture")
    with pytest.raises(InvalidRequest, match="cannot be read"):
        model.predict("missing.png")
    with pytest.raises(ModelNotFound):
        portside.load("nothing", published)
    with pytest.raises(AliasNotFound, match="stable"):
        portside.load("colour:stable", published)
    assert "colour:1" in repr(model)


def test_serve_answers_from_a_thread(published: Path) -> None:
    with portside.serve(published) as server:
        body = json.dumps({"instances": [[1.0, 2.0, 3.0, 4.0]]}).encode()
        request = urllib.request.Request(f"{server.url}/v1/models/mlp:predict", body)
        with urllib.request.urlopen(request, timeout=30) as answer:
            predictions = json.load(answer)["predictions"]
    expected = portside.load("mlp", published)(x=[[1.0, 2.0, 3.0, 4.0]])["y"]
    assert predictions[0] == pytest.approx(expected[0].tolist(), rel=1e-5)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(server.url, timeout=5)


def test_importing_costs_nothing_heavy() -> None:
    heavy = "numpy", "onnxruntime", "openvino", "torch", "tensorflow", "onnx", "PIL", "rich", "click"
    code = f"import sys, portside; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in portside.__all__:
        assert getattr(portside, name) is not None
        assert name in dir(portside)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = portside.nothing
