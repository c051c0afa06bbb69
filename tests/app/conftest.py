"""A repository with two published models, built once through the real line, and the command line run in a process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def run(*args: object, stdin: str | None = None, timeout_s: float = 200) -> Ran:
    """``portside ARGS`` in a process of its own."""
    command = [sys.executable, "-m", "portside", *map(str, args)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(name="portside", scope="session")
def portside_command() -> Callable[..., Ran]:
    return run


def save(
    path: Path, nodes: Sequence[onnx.NodeProto], shapes: tuple[list[Any], list[Any]], weights: dict[str, Any]
) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shapes[0])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, shapes[1])
    initializers = [numpy_helper.from_array(np.asarray(v), n) for n, v in weights.items()]
    graph = helper.make_graph(list(nodes), "net", [x], [y], initializers)
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


@pytest.fixture(scope="session")
def tabular_source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A 4-16-3 network and 32 rows for it."""
    folder = tmp_path_factory.mktemp("tabular")
    random = np.random.default_rng(7)
    shapes = {"w1": (4, 16), "b1": (16,), "w2": (16, 3), "b2": (3,)}
    weights = {n: random.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"], axis=-1),
    ]
    np.savez(folder / "rows.npz", x=random.normal(size=(32, 4)).astype(np.float32))
    return save(folder / "mlp.onnx", nodes, (["batch", 4], ["batch", 3]), weights), folder / "rows.npz"


@pytest.fixture(scope="session")
def colour_source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A network that tells red, green and blue pictures apart; pictures of each; the names of the classes."""
    folder = tmp_path_factory.mktemp("colour")
    (folder / "photos").mkdir()
    random = np.random.default_rng(3)
    for index in range(12):
        pixels = random.integers(0, 90, (48, 64, 3), dtype=np.uint8)
        pixels[..., index % 3] += 140
        Image.fromarray(pixels).save(folder / "photos" / f"{index:02d}.png")
    weights = {"k": 4 * np.eye(3, dtype=np.float32)[:, :, None, None], "axes": np.array([2, 3], np.int64)}
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"]),
        helper.make_node("ReduceMean", ["c", "axes"], ["y"], keepdims=0),
    ]
    (folder / "names.txt").write_text("red\ngreen\nblue\n")
    source = save(folder / "colour.onnx", nodes, (["batch", 3, 32, 32], ["batch", 3]), weights)
    return source, folder / "photos", folder / "names.txt"


@pytest.fixture(scope="session")
def published(
    tmp_path_factory: pytest.TempPathFactory, tabular_source: tuple[Path, Path], colour_source: tuple[Path, Path, Path]
) -> Path:
    """A repository with ``mlp`` (versions 1 and 2) and ``colour`` (version 1). Only read it."""
    repository = tmp_path_factory.mktemp("repository")
    graph, rows = tabular_source
    for _ in range(2):
        made = run("build", graph, "--name", "mlp", "--samples", rows, "--repository", repository, "--json")
        assert made.code == 0, made.err + made.out
    source, photos, names = colour_source
    made = run(
        "build", source, "--name", "colour", "--samples", photos, "--image", "32x32", "--preset", "unit",
        "--labels", names, "--top-k", "2", "--repository", repository, "--json",
    )  # fmt: skip
    assert made.code == 0, made.err + made.out
    return repository


@pytest.fixture
def repository(tmp_path: Path, published: Path) -> Path:
    """A copy of ``published`` to change."""
    shutil.copytree(published, tmp_path / "models", ignore=shutil.ignore_patterns(".builds"))
    return tmp_path / "models"
