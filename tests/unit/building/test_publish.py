from __future__ import annotations

from pathlib import Path

import pytest

from portside.building.convert_step import ConvertOutput
from portside.building.publish import gather, make_manifest
from portside.building.recipe import Recipe
from portside.building.tune import Tuned
from portside.building.workspace import Workspace
from portside.errors import RepositoryFailed
from portside.model.artifact import file_entry
from portside.model.config import EngineConfig, Goal
from portside.model.evidence import Evidence, Host, SelfTest, Verdict
from portside.model.manifest import Manifest, encode
from portside.model.processing import Processing
from portside.model.signature import Signature
from portside.model.source import Converted, Source
from portside.model.tensors import DType, TensorSpec
from portside.optimize.base import Optimized, PassOutcome

SIGNATURE = Signature(
    (TensorSpec("x", DType.FLOAT32, ("batch", 4)),), (TensorSpec("y", DType.FLOAT32, ("batch", 3)),), "batch"
)
RECIPE = Recipe("net", Source("pkg.net:Net", checkpoint="/home/someone/net.pt"), goal=Goal.THROUGHPUT)
CONVERTED = ConvertOutput(
    Converted("model.onnx", ("model.onnx",), SIGNATURE, "PyTorch 2", "torch2onnx", "abc", 18, 10),
    Processing(), "PyTorch 2 eager", {}, 5, (), (),
)  # fmt: skip
OPTIMIZED = Optimized(
    "model.onnx",
    ("model.onnx", "model.onnx.data"),
    SIGNATURE,
    Processing(),
    (
        PassOutcome("simplify", True, True, ""),
        PassOutcome("fold", True, False, ""),
        PassOutcome("fuse", False, False, ""),
    ),
)
EVIDENCE = Evidence(
    Verdict.PASS, (), "digest", "as it is", (), SelfTest(True, True, "w"), Host("cpu", (), 2, {}), 0, 5
)  # fmt: skip
TUNED = Tuned(EngineConfig(threads=2), EVIDENCE, ())


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    space = Workspace(tmp_path)
    files = space.clear_step("optimize") / "files"
    (files / "model.onnx").write_bytes(b"graph")
    (files / "model.onnx.data").write_bytes(b"weights")
    (tmp_path / "recipe.json").write_bytes(encode(RECIPE))
    return space


def made(workspace: Workspace) -> Manifest:
    return make_manifest(RECIPE, CONVERTED, OPTIMIZED, TUNED, workspace.files("optimize"))


def test_the_manifest_says_where_everything_came_from(workspace: Workspace) -> None:
    manifest = made(workspace)
    assert manifest.version == 0
    assert manifest.provenance.source == "pkg.net:Net with net.pt"
    assert manifest.provenance.framework == "PyTorch 2 eager"
    assert manifest.provenance.passes == ("simplify",)
    assert (manifest.provenance.opset, manifest.provenance.ir_version) == (18, 10)
    assert manifest.created.endswith("+00:00")
    assert (manifest.goal, manifest.config) == (Goal.THROUGHPUT, EngineConfig(threads=2))
    assert [f.path for f in manifest.artifact.files] == ["model.onnx", "model.onnx.data"]


def test_everything_of_the_version_comes_into_one_folder(workspace: Workspace, tmp_path: Path) -> None:
    (workspace.folder / "publish").mkdir()
    (workspace.folder / "publish" / "left over").write_bytes(b"from before")
    manifest = gather(made(workspace), workspace)
    names = {"model.onnx", "model.onnx.data", "report.html", "evidence.json", "recipe.json"}
    assert {p.name for p in (tmp_path / "publish").iterdir()} == names
    listed = (*manifest.artifact.files, *manifest.attachments)
    assert {f.path for f in listed} == names
    assert all(file_entry(tmp_path / "publish", f.path) == f for f in listed)
    assert (tmp_path / "report.html").read_bytes() == (tmp_path / "publish" / "report.html").read_bytes()


def test_a_missing_file_is_said_without_its_place(workspace: Workspace, tmp_path: Path) -> None:
    manifest = made(workspace)
    (workspace.files("optimize") / "model.onnx.data").unlink()
    with pytest.raises(RepositoryFailed, match="cannot be put together") as caught:
        gather(manifest, workspace)
    assert str(tmp_path) not in caught.value.message
    with pytest.raises(RepositoryFailed, match="cannot be read"):
        made(workspace)
