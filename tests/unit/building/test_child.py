from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from portside.building.child import STEPS, TEMPORARY, PipeProgress, own_temporary_files, run_step, users_code
from portside.building.convert_step import ConvertInput
from portside.building.isolate import ProgressCall
from portside.building.steps import Answer, Job, StepName
from portside.building.toolbox import Toolbox
from portside.convert.base import Recognised, Reference
from portside.errors import InvalidSettings
from portside.model.processing import Processing
from portside.model.source import Converted, Source
from portside.observe.null import NullProgress


class Raising:
    """A converter that recognises everything and then raises."""

    name = "anything2onnx"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def recognise(self, source: Source) -> Recognised | None:
        return Recognised("anything", self.name, "torch")

    def convert(self, source: Source, folder: Path) -> Converted:
        raise self._error

    def reference(self, source: Source, converted: Converted) -> Reference:
        raise self._error


@pytest.fixture
def asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    given = ConvertInput(Source("net.any"), Processing(), None, 64, 0, 1)
    job = Job(StepName.CONVERT, msgspec.Raw(msgspec.json.encode(given)), ("/somewhere/else",))
    (folder / "input.json").write_bytes(msgspec.json.encode(job))
    return folder


def tools(error: Exception) -> Toolbox:
    return Toolbox([Raising(error)], {}, [], [], ())


def test_every_step_has_its_function() -> None:
    assert set(STEPS) == set(StepName)
    assert all(step.name is name for name, step in STEPS.items())


def test_an_error_of_ours_is_the_answer(asked: Path, shown: Any) -> None:
    answer = run_step(asked, asked, tools(InvalidSettings("no inputs", detail="why")), shown)
    written = msgspec.json.decode((asked / "output.json").read_bytes(), type=Answer)
    assert written == answer
    assert written.failure is not None
    assert (written.failure.kind, written.failure.message, written.failure.detail) == (
        "InvalidSettings",
        "no inputs",
        "why",
    )
    assert shown.calls == [("start", "convert", None)]
    assert sys.path[-1] == "/somewhere/else"


def test_a_foreign_error_names_the_step(asked: Path) -> None:
    failure = run_step(asked, asked, tools(RuntimeError("bad luck")), NullProgress()).failure
    assert failure is not None
    assert failure.kind == "ConversionFailed"
    assert "'convert' stopped with RuntimeError" in failure.message
    assert failure.detail is not None
    assert "bad luck" in failure.detail


def test_an_input_of_another_form_is_a_failure_too(asked: Path) -> None:
    (asked / "input.json").write_text('{"step": "convert", "input": {"source": 3}}')
    failure = run_step(asked, asked, tools(RuntimeError()), NullProgress()).failure
    assert failure is not None
    assert "ValidationError" in failure.message


def test_results_can_go_elsewhere(asked: Path, tmp_path: Path) -> None:
    run_step(asked, tmp_path / "again", tools(InvalidSettings("no")), NullProgress())
    assert (tmp_path / "again" / "output.json").is_file()
    assert (tmp_path / "again" / "files").is_dir()
    assert not (asked / "output.json").exists()


def test_progress_is_one_line_a_call() -> None:
    reader, writer = os.pipe()
    progress = PipeProgress(writer)
    progress.start("convert", 3)
    progress.advance(2, "two\nlines")
    progress.finish("done")
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        calls = [msgspec.json.decode(line, type=ProgressCall) for line in stream]
    assert calls == [
        ProgressCall("start", step="convert", total=3),
        ProgressCall("advance", done=2, note="two\nlines"),
        ProgressCall("finish", note="done"),
    ]


def test_temporary_files_of_a_step_lie_with_it_and_go(tmp_path: Path) -> None:
    (tmp_path / TEMPORARY).mkdir()
    (tmp_path / TEMPORARY / "left by a killed step").write_text("")
    usual = tempfile.gettempdir()
    with own_temporary_files(tmp_path), tempfile.NamedTemporaryFile(delete=False) as file:
        assert list((tmp_path / TEMPORARY).iterdir()) == [Path(file.name)]
    assert not (tmp_path / TEMPORARY).exists()
    assert tempfile.gettempdir() == usual


def test_code_of_the_user_is_what_is_neither_installed_nor_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = tmp_path / "no_init_here"
    parts.mkdir()
    (parts / "blocks_of_a_user.py").write_text("SIZE = 1")
    (tmp_path / "net_of_a_user.py").write_text("from no_init_here.blocks_of_a_user import SIZE")
    monkeypatch.syspath_prepend(tmp_path)
    before = {entry.path for entry in users_code()}
    importlib.import_module("net_of_a_user")
    found = {f"/{entry.path}" for entry in users_code() if entry.path not in before}
    assert found == {str(tmp_path / "net_of_a_user.py"), str(parts / "blocks_of_a_user.py")}
    assert not any(
        "/portside/" in path or path.endswith(("/json/__init__.py", "/msgspec/__init__.py")) for path in before
    )
