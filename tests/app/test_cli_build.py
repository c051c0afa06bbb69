"""``portside build``, ``convert``, ``verify`` and ``predict``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from portside.app.cli_build import name_of

Portside = Callable[..., Any]


def test_build_shows_the_evidence(portside: Portside, tabular_source: tuple[Path, Path], tmp_path: Path) -> None:
    graph, rows = tabular_source
    built = portside("build", graph, "--name", "m", "--samples", rows, "--repository", tmp_path)
    assert built.code == 0, built.err
    assert "verdict pass" in built.out
    assert "chosen" in built.out
    assert "report.html" in built.out
    for step in ("convert", "optimize", "publish"):
        assert step in built.err


def test_without_samples_nothing_is_published(
    portside: Portside, tabular_source: tuple[Path, Path], tmp_path: Path
) -> None:
    refused = portside("build", tabular_source[0], "--name", "m", "--repository", tmp_path)
    assert refused.code == 4
    assert "inconclusive" in refused.err
    assert portside("models", "list", "--repository", tmp_path, "--json").json() == []
    forced = portside("build", tabular_source[0], "--name", "m", "--repository", tmp_path, "--force")
    assert forced.code == 0, forced.err
    assert "FORCED" in portside("models", "list", "--repository", tmp_path).out
    assert portside("models", "show", "m", "--repository", tmp_path, "--json").json()["forced"] is True


def test_verify_publishes_nothing(portside: Portside, tabular_source: tuple[Path, Path], tmp_path: Path) -> None:
    graph, rows = tabular_source
    passed = portside("verify", graph, "--samples", rows, "--workspace", tmp_path / "w", "--json")
    assert passed.code == 0, passed.err
    assert passed.json()["evidence"]["verdict"] == "pass"
    assert passed.json()["version"] == 0
    undecided = portside("verify", graph, "--workspace", tmp_path / "w", "--json")
    assert undecided.code == 4
    assert undecided.json()["evidence"]["verdict"] == "inconclusive"


def test_convert_writes_a_graph_that_runs(
    portside: Portside, tabular_source: tuple[Path, Path], tmp_path: Path
) -> None:
    converted = portside("convert", tabular_source[0], "-o", tmp_path / "out", "--json")
    assert converted.code == 0, converted.err
    session = onnxruntime.InferenceSession(tmp_path / "out" / converted.json()["graph"])
    (answer,) = session.run(None, {"x": np.zeros((2, 4), np.float32)})
    assert answer.shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("net.tflite", b"\x1c\x00\x00\x00TFL3", "TensorFlow Lite"),
        ("photo.jpg", b"\xff\xd8\xff\xe0", "JPEG"),
        ("what.bin", b"no idea", "Supported are"),
    ],
)
def test_an_unknown_source_is_explained(
    portside: Portside, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    refused = portside("build", tmp_path / name, "--name", "m", "--repository", tmp_path / "r")
    assert refused.code == 5
    assert said in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--image", "big"], "HEIGHTxWIDTH"),
        (["--image", "32x32", "--mean", "1,2"], "1 or 3 numbers"),
        (["--image", "32x32", "--std", "0"], "zero"),
        (["--preset", "imagenet", "--mean", "1"], "--mean, --preset without --image"),
        (["--processing", __file__, "--image", "32x32", "--top-k", "3"], "--processing excludes --image, --top-k"),
        (["--input", "x=float33[1]"], "float33"),
        (["--args", "{"], "JSON"),
        (["--samples", "/nowhere/at/all"], "samples"),
        (["--name", "../m"], "not a model name"),
        (["--engine", "tensorrt"], "tensorrt"),
    ],
)
def test_wrong_options_are_explained(
    portside: Portside, tabular_source: tuple[Path, Path], tmp_path: Path, options: list[str], said: str
) -> None:
    refused = portside("build", tabular_source[0], "--name", "m", "--repository", tmp_path, *options)
    assert refused.code == 2
    assert said in refused.err
    assert "Traceback" not in refused.err


def test_predict_pictures(portside: Portside, published: Path, colour_source: tuple[Path, Path, Path]) -> None:
    photos = sorted(colour_source[1].iterdir())[:3]
    said = portside("predict", "colour", *photos, "--repository", published, "--json")
    assert said.code == 0, said.err
    answers = [json.loads(line) for line in said.out.splitlines()]
    assert [a["classes"][0]["label"] for a in answers] == ["red", "green", "blue"]
    assert [len(a["classes"]) for a in answers] == [2, 2, 2]
    for_people = portside("predict", "colour", photos[0], "--top-k", 1, "--repository", published)
    assert "red" in for_people.out


def test_predict_reads_lines_and_survives_bad_ones(portside: Portside, published: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text('{"x": [[1, 2, 3, 4], [0, 0, 0, 0]]}')
    lines = ['{"x": [[1, 2, 3, 4]]}', '{"x": [[1, 2]]}', "{nonsense", str(tmp_path / "rows.json"), "missing.png"]
    said = portside("predict", "mlp:1", "--repository", published, "--json", stdin="\n".join(lines))
    assert said.code == 2
    answers = [json.loads(line) for line in said.out.splitlines()]
    assert ["error" in a for a in answers] == [False, True, True, False, True]
    assert np.shape(answers[0]["outputs"]["y"]) == (1, 3)
    assert answers[3]["outputs"]["y"][0] == pytest.approx(answers[0]["outputs"]["y"][0])


def test_predict_survives_what_python_itself_cannot_take(portside: Portside, published: Path) -> None:
    lines = ['{"self": 1}', '{"x": [[1, 2, 3, 1%s]]}' % ("0" * 400), '{"x": [[1, 2, 3, %s]]}' % ("9" * 5000),
             '{"x": ' + "[" * 100_000, "a\0b", "a\0b.json", '{"x": [[1, 2, 3, 4]]}']  # fmt: skip
    said = portside("predict", "mlp:1", "--repository", published, "--json", stdin="\n".join(lines))
    assert said.code == 2, said.err
    answers = [json.loads(line) for line in said.out.splitlines()]
    assert ["error" in a for a in answers] == [True] * 6 + [False]
    assert "unexpected input 'self'" in answers[0]["error"]["message"]


@pytest.mark.parametrize("option", ["--max-body", "--max-pixels", "--poll", "--drain"])
def test_serve_refuses_settings_that_cannot_work(portside: Portside, tmp_path: Path, option: str) -> None:
    said = portside("serve", "--repository", tmp_path, "--port", 0, option, "-1", timeout_s=20)
    assert said.code == 2
    assert option in said.err


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("nets/cats.onnx", "cats"),
        ("package.net:Cats", "Cats"),
        ("package.net:Cats.from_name", "from_name"),
        ("saved_model/", "saved_model"),
        ("/data/a b!.keras", "a-b-"),
        ("..", "model"),
    ],
)
def test_a_name_from_the_source(source: str, name: str) -> None:
    assert name_of(source) == name
