"""The line itself, with steps whose answers are prepared; the real steps are in tests/integration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from portside.building.build import build, verify
from portside.building.convert_step import ConvertOutput
from portside.building.recipe import Recipe
from portside.building.steps import Answer
from portside.building.toolbox import Toolbox
from portside.building.tune import Tuned
from portside.building.workspace import Workspace
from portside.convert.onnx2onnx import Onnx2Onnx
from portside.errors import Conflict, CorruptArtifact, InvalidSettings, SourceNotRecognised, VerificationFailed
from portside.model.config import EngineConfig
from portside.model.evidence import Evidence, Host, SelfTest, Verdict
from portside.model.processing import Processing
from portside.model.signature import Signature
from portside.model.source import Converted, Source
from portside.model.tensors import DType, TensorSpec
from portside.optimize.base import Optimized
from portside.repository.local import LocalRepository

SIGNATURE = Signature(
    (TensorSpec("x", DType.FLOAT32, ("batch", 4)),), (TensorSpec("y", DType.FLOAT32, ("batch", 3)),), "batch"
)
CONVERTED = ConvertOutput(
    Converted("model.onnx", ("model.onnx",), SIGNATURE, "ONNX", "onnx2onnx", "abc", 18, 10),
    Processing(), "ONNX reference", {}, 5, (), (),
)  # fmt: skip
OPTIMIZED = Optimized("model.onnx", ("model.onnx",), SIGNATURE, Processing(), ())

STEP = """
import json, shutil
job = json.loads((folder / "input.json").read_text())
answers = Path(__file__).parent / "answers"
(folder / "files" / "model.onnx").write_bytes(b"graph")
os.write(fd, json.dumps({"call": "start", "step": job["step"]}).encode() + b'\\n{"call":"finish","note":"ok"}\\n')
shutil.copy(answers / (job["step"] + ".json"), folder / "output.json")
"""


@pytest.fixture
def tools(program: Callable[[str], tuple[str, ...]]) -> Toolbox:
    return Toolbox([Onnx2Onnx()], {}, [], [], program(STEP))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    # the first bytes of an ONNX file: that is what recognises it
    (tmp_path / "net.onnx").write_bytes(b"\x08\x0a\x12\x05other:\x00")
    return Recipe("net", Source(str(tmp_path / "net.onnx")))


@pytest.fixture
def repository(tmp_path: Path) -> LocalRepository:
    (tmp_path / "models").mkdir()
    return LocalRepository(tmp_path / "models")


def prepare(folder: Path, verdict: Verdict) -> None:
    reasons = () if verdict is Verdict.PASS else ("output 'y' is off by 3", "the verifier is blind")
    evidence = Evidence(
        verdict, reasons, "digest", "as it is", (), SelfTest(True, True, "w"), Host("cpu", (), 2, {}), 0, 5
    )
    answers = {"convert": CONVERTED, "optimize": OPTIMIZED, "tune": Tuned(EngineConfig(), evidence, ())}
    (folder / "answers").mkdir()
    for step, output in answers.items():
        answer = Answer(output=msgspec.Raw(msgspec.json.encode(output)))
        (folder / "answers" / f"{step}.json").write_bytes(msgspec.json.encode(answer))


def test_a_pass_is_published(
    recipe: Recipe, tools: Toolbox, repository: LocalRepository, tmp_path: Path, shown: Any
) -> None:
    prepare(tmp_path, Verdict.PASS)
    result = build(recipe, tools, repository, shown, tmp_path / "ws")
    assert result.published
    assert repository.manifest("net", 1) == result.manifest
    assert not result.manifest.forced
    assert [call[1] for call in shown.calls if call[0] == "start"] == ["convert", "optimize", "tune", "publish"]
    assert shown.calls[-1] == ("finish", "net:1")
    assert (tmp_path / "ws" / "recipe.json").is_file()


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE])
def test_anything_else_is_not(
    recipe: Recipe, tools: Toolbox, repository: LocalRepository, tmp_path: Path, shown: Any, verdict: Verdict
) -> None:
    prepare(tmp_path, verdict)
    with pytest.raises(VerificationFailed, match=f"is {verdict.value}, so it was not published") as caught:
        build(recipe, tools, repository, shown, tmp_path / "ws")
    assert "output 'y' is off by 3; the verifier is blind" in caught.value.message
    assert caught.value.detail == f"report: {tmp_path / 'ws' / 'report.html'}"
    assert (tmp_path / "ws" / "report.html").is_file()
    assert (tmp_path / "ws" / "evidence.json").is_file()
    assert repository.models() == []
    assert "publish" not in [call[1] for call in shown.calls]

    proven = verify(recipe, tools, shown, tmp_path / "ws")
    assert (proven.published, proven.manifest.verdict, proven.manifest.version) == (False, verdict, 0)
    assert repository.models() == []

    forced = build(msgspec.structs.replace(recipe, force=True), tools, repository, shown, tmp_path / "ws")
    assert repository.manifest("net", 1).forced
    assert forced.manifest.verdict is verdict
    assert shown.calls[-1] == ("finish", "net:1 (forced)")


def test_a_repository_that_refuses_ends_the_progress(
    recipe: Recipe, tools: Toolbox, tmp_path: Path, shown: Any
) -> None:
    class Refusing(LocalRepository):
        def publish(self, *args: Any, **kwargs: Any) -> Any:
            raise CorruptArtifact("bytes changed on the way")

    prepare(tmp_path, Verdict.PASS)
    with pytest.raises(CorruptArtifact):
        build(recipe, tools, Refusing(tmp_path / "models"), shown, tmp_path / "ws")
    assert shown.calls[-1] == ("finish", "failed")


def test_what_is_wrong_from_the_start_costs_nothing(
    recipe: Recipe, tools: Toolbox, repository: LocalRepository, tmp_path: Path, shown: Any
) -> None:
    bad = [
        (msgspec.structs.replace(recipe, sample_limit=0), InvalidSettings),
        (msgspec.structs.replace(recipe, source=Source(str(tmp_path / "no.onnx"))), SourceNotRecognised),
        (msgspec.structs.replace(recipe, samples=str(tmp_path / "none")), InvalidSettings),
    ]
    for wrong, kind in bad:
        with pytest.raises(kind):
            build(wrong, tools, repository, shown, tmp_path / "ws")
    assert shown.calls == []
    assert not (tmp_path / "ws" / "convert").exists()


def test_a_workspace_in_use_is_left_alone(
    recipe: Recipe, tools: Toolbox, repository: LocalRepository, tmp_path: Path, shown: Any
) -> None:
    with Workspace(tmp_path / "ws").hold(), pytest.raises(Conflict):
        build(recipe, tools, repository, shown, tmp_path / "ws")
    assert shown.calls == []


def test_other_weights_beside_the_graph_are_converted_again(
    recipe: Recipe, tools: Toolbox, repository: LocalRepository, tmp_path: Path, shown: Any
) -> None:
    prepare(tmp_path, Verdict.PASS)
    # how a graph names the file with its weights
    Path(recipe.source.location).write_bytes(b"\x08\x0a\x12\x05other:\x00\n\x08location\x12\x04net.")
    weights = tmp_path / "net."
    weights.write_bytes(b"1")
    build(recipe, tools, repository, shown, tmp_path / "ws")
    assert build(recipe, tools, repository, shown, tmp_path / "ws").steps[0].cached
    weights.write_bytes(b"2")
    assert not build(recipe, tools, repository, shown, tmp_path / "ws").steps[0].cached
