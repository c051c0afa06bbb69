from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from portside.building.line import Line, step_key
from portside.building.steps import Context, Step, StepName
from portside.building.workspace import Workspace
from portside.errors import ConversionFailed, InvalidSettings, OptimizationFailed, PortsideError
from portside.model.artifact import file_entry
from portside.observe.null import NullProgress

Program = Callable[[str], tuple[str, ...]]


class Given(msgspec.Struct, frozen=True):
    text: str


class Made(msgspec.Struct, frozen=True):
    length: int


def never(given: Given, context: Context) -> Made:
    raise AssertionError("runs in the child")


FIRST = Step(StepName.CONVERT, Given, Made, never, ConversionFailed)
SECOND = Step(StepName.OPTIMIZE, Given, Made, never, OptimizationFailed)

WORK = r"""
import json
job = json.loads((folder / "input.json").read_text())
with (folder.parent / "runs").open("a") as runs:
    runs.write(job["step"] + "\n")
os.write(fd, b'{"call":"start","step":"work"}\n{"call":"finish","note":"worked"}\n')
text = job["input"]["text"]
(folder / "files" / "made.txt").write_text(text)
(folder / "output.json").write_text(json.dumps({"output": {"length": len(text)}}))
"""


def runs(workspace: Path) -> list[str]:
    return (workspace / "runs").read_text().split()


def line(workspace: Path, command: tuple[str, ...], progress: Any = None) -> Line:
    return Line(Workspace(workspace), command, progress or NullProgress())


def test_a_finished_step_is_not_run_again(program: Program, tmp_path: Path, shown: Any) -> None:
    command = program(WORK)
    first = line(tmp_path, command)
    assert first.run(FIRST, Given("abc"), {}, 60) == Made(3)
    assert [(r.name, r.cached, [n.note for n in r.notes]) for r in first.records] == [
        (StepName.CONVERT, False, ["worked"])
    ]
    second = line(tmp_path, command, shown)
    assert second.run(FIRST, Given("abc"), {}, 60) == Made(3)
    assert second.records[0].cached
    assert shown.calls == [("start", "work", None), ("finish", "worked (done before)")]
    assert runs(tmp_path) == ["convert"]


@pytest.mark.parametrize("change", ["input", "depends", "file", "missing", "output", "unfinished"])
def test_whatever_changes_makes_it_run_again(program: Program, tmp_path: Path, change: str) -> None:
    command = program(WORK)
    line(tmp_path, command).run(FIRST, Given("abc"), {"source": "1"}, 60)
    given, depends, folder = Given("abc"), {"source": "1"}, tmp_path / "convert"
    if change == "input":
        given = Given("abcd")
    elif change == "depends":
        depends = {"source": "2"}
    elif change == "file":
        (folder / "files" / "made.txt").write_text("abX")
    elif change == "missing":
        (folder / "files" / "made.txt").unlink()
    elif change == "output":
        (folder / "done.json").write_text("{")
    else:
        (folder / "done.json").unlink()
    assert line(tmp_path, command).run(FIRST, given, depends, 60) == Made(len(given.text))
    assert runs(tmp_path) == ["convert", "convert"]


def test_a_module_that_was_imported_and_changed_makes_it_run_again(program: Program, tmp_path: Path) -> None:
    module = tmp_path / "blocks.py"
    module.write_text("SIZE = 1")
    entry = msgspec.json.encode([file_entry(Path("/"), module.relative_to("/").as_posix())]).decode()
    command = program(
        WORK
        + f"""
(folder / "output.json").write_text(json.dumps({{"output": {{"length": 3}}, "code": json.loads({entry!r})}}))
"""
    )
    for _ in range(2):
        line(tmp_path, command).run(FIRST, Given("abc"), {}, 60)
    assert runs(tmp_path) == ["convert"]
    module.write_text("SIZE = 2")
    line(tmp_path, command).run(FIRST, Given("abc"), {}, 60)
    assert runs(tmp_path) == ["convert", "convert"]


def test_a_step_depends_on_what_was_made_before_it(program: Program, tmp_path: Path) -> None:
    command = program(WORK)
    for text in ("abc", "abc", "xyz"):
        whole = line(tmp_path, command)
        whole.run(FIRST, Given(text), {}, 60)
        whole.run(SECOND, Given("same"), {}, 60)
    assert runs(tmp_path) == ["convert", "optimize", "convert", "optimize"]


@pytest.mark.parametrize(("kind", "again"), [(ConversionFailed, True), (InvalidSettings, False)])
def test_a_failed_step_raises_what_the_child_raised_and_is_not_kept(
    program: Program,
    tmp_path: Path,
    kind: type[PortsideError],
    again: bool,  # noqa: FBT001 -- pytest passes it by name
) -> None:
    answer = {"failure": {"kind": kind.__name__, "message": "no input given", "detail": "why"}}
    command = program(WORK + f'\n(folder / "output.json").write_text({json.dumps(answer)!r})\n')
    for _ in range(2):
        with pytest.raises(kind, match="no input given") as caught:
            line(tmp_path, command).run(FIRST, Given("abc"), {}, 60)
        assert caught.value.detail is not None
        assert caught.value.detail.startswith("why")
        # a wrong option is wrong again: only what broke is worth running again
        assert ("reproduce.py" in caught.value.detail) == again
    assert runs(tmp_path) == ["convert", "convert"]


@pytest.mark.parametrize("answer", ["", "{}", "[1]", '{"output": {"length": "three"}}'])
def test_an_answer_that_makes_no_sense_is_an_error_of_the_step(program: Program, tmp_path: Path, answer: str) -> None:
    command = program(f"(folder / 'output.json').write_text({answer!r})")
    with pytest.raises(ConversionFailed, match="'convert'"):
        line(tmp_path, command).run(FIRST, Given("abc"), {}, 60)


def test_the_script_runs_the_step_again_beside_the_first_answer(tmp_path: Path) -> None:
    file = tmp_path / "again.py"
    file.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "folder = Path(sys.argv[1])\n"
        "into = Path(sys.argv[sys.argv.index('--into') + 1]) if '--into' in sys.argv else folder\n"
        "into.mkdir(exist_ok=True)\n"
        "(into / 'output.json').write_text('{\"output\": {\"length\": 3}}')\n"
    )
    line(tmp_path / "ws", (sys.executable, str(file))).run(FIRST, Given("abc"), {}, 60)
    folder = tmp_path / "ws" / "convert"
    subprocess.run([sys.executable, str(folder / "reproduce.py")], check=True, timeout=60)
    assert (folder / "again" / "output.json").read_bytes() == (folder / "output.json").read_bytes()


def test_the_key_tells_steps_and_inputs_apart() -> None:
    keys = {
        step_key(StepName.CONVERT, Given("a"), {}),
        step_key(StepName.OPTIMIZE, Given("a"), {}),
        step_key(StepName.CONVERT, Given("b"), {}),
        step_key(StepName.CONVERT, Given("a"), {"x": "1"}),
    }
    assert len(keys) == 4
    assert step_key(StepName.CONVERT, Given("a"), {"x": "1", "y": "2"}) == step_key(
        StepName.CONVERT, Given("a"), {"y": "2", "x": "1"}
    )
