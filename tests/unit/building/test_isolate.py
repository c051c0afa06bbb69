from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portside.building.isolate import Phase, run_child, tail
from portside.errors import ConversionFailed, DeadlineExceeded
from portside.observe.null import NullProgress

Program = Callable[[str], tuple[str, ...]]

ANSWER = "(folder / 'output.json').write_text('{}')\n"


def test_the_answer_and_the_log_are_left_in_the_folder(program: Program, folder: Path) -> None:
    body = ANSWER + "print('printed', flush=True); os.write(2, b'complained')"
    assert run_child(program(body), folder, 60, NullProgress(), ConversionFailed) == ()
    assert (folder / "output.json").read_text() == "{}"
    assert (folder / "log.txt").read_text() == "printed\ncomplained"


def test_progress_comes_through(program: Program, folder: Path, shown: Any) -> None:
    body = r"""
    os.write(fd, b'{"call":"start","step":"convert","total":3}\n{"call":"adv')
    os.write(fd, b'ance","done":2,"note":"half"}\nnot json\n{"call":"finish","note":"94 nodes"}\n')
    """
    phases = run_child(program(body + "\n    " + ANSWER), folder, 60, shown, ConversionFailed)
    assert shown.calls == [("start", "convert", 3), ("advance", 2, "half"), ("finish", "94 nodes")]
    assert phases == (Phase("convert", "94 nodes"),)


def test_a_long_line_without_end_is_not_collected(program: Program, folder: Path) -> None:
    body = "os.write(1, b'')\nfor _ in range(50): os.write(fd, b'x' * 60000)\n" + ANSWER
    assert run_child(program(body), folder, 60, NullProgress(), ConversionFailed) == ()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("os.abort()", "crashed (SIGABRT)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed (SIGSEGV)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "most likely because the memory ran out"),
        ("sys.exit(3)", "ended with exit status 3 and without an answer"),
        ("pass", "ended with exit status 0 and without an answer"),
    ],
)
def test_a_death_becomes_an_error_with_the_end_of_the_log(
    program: Program, folder: Path, shown: Any, body: str, said: str
) -> None:
    start = 'os.write(fd, b\'{"call":"start","step":"convert"}\\n\')\nprint("last words", flush=True)\n'
    with pytest.raises(ConversionFailed) as caught:
        run_child(program(start + body), folder, 60, shown, ConversionFailed)
    assert said in caught.value.message
    assert "'convert'" in caught.value.message
    assert str(folder) not in caught.value.message
    assert caught.value.detail is not None
    assert "last words" in caught.value.detail
    assert shown.calls == [("start", "convert", None), ("finish", "failed")]


def test_a_step_that_takes_too_long_is_killed_with_its_children(program: Program, folder: Path) -> None:
    body = """
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
    (folder / "grandchild").write_text(str(child.pid))
    os.write(fd, b'{"call":"start","step":"convert"}\\n')
    threading.Event().wait()
    """

    with pytest.raises(DeadlineExceeded, match="limit of 3 s"):
        run_child(program(body), folder, 3, NullProgress(), ConversionFailed)
    assert gone(int((folder / "grandchild").read_text()))


def test_a_child_that_closes_the_pipe_is_still_bounded(program: Program, folder: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        run_child(program("os.close(fd); threading.Event().wait()"), folder, 1, NullProgress(), ConversionFailed)


def test_an_exception_in_the_progress_ends_the_child(program: Program, folder: Path) -> None:
    class Broken(NullProgress):
        def start(self, step: str, total: int | None = None) -> None:
            raise KeyboardInterrupt

    body = """
    (folder / "pid").write_text(str(os.getpid()))
    os.write(fd, b'{"call":"start","step":"convert"}\\n')
    threading.Event().wait()
    """
    with pytest.raises(KeyboardInterrupt):
        run_child(program(body), folder, 60, Broken(), ConversionFailed)
    assert gone(int((folder / "pid").read_text()))


def test_no_descriptor_is_left_open(program: Program, folder: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    run_child(program(ANSWER), folder, 60, NullProgress(), ConversionFailed)
    with pytest.raises(FileNotFoundError):
        run_child(("/nowhere/python",), folder, 60, NullProgress(), ConversionFailed)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_log_that_a_converter_left_among_its_files_is_shown_too(tmp_path: Path) -> None:
    (tmp_path / "files" / "graph").mkdir(parents=True)
    (tmp_path / "log.txt").write_text("first")
    (tmp_path / "files" / "graph" / "converter-x.log").write_text("second " + "long " * 2000 + "end")
    shown = tail(tmp_path)
    assert "first" in shown
    assert shown.endswith("long end")
    assert len(shown) < 5000


def test_a_missing_log_is_said_not_raised(tmp_path: Path) -> None:
    assert "cannot be read" in tail(tmp_path)


def test_a_step_ends_with_the_build_that_started_it(program: Program, folder: Path, tmp_path: Path) -> None:
    """The parent is killed outright; the child's watch of the pipe ends it."""
    step = tmp_path / "step.py"
    step.write_text(
        "import os, sys, threading\n"
        "from pathlib import Path\n"
        "from portside.building.child import end_with_parent\n"
        "fd = int(sys.argv[3])\n"
        "os.set_inheritable(fd, False)\n"
        "end_with_parent(fd)\n"
        "Path(sys.argv[1], 'pid').write_text(str(os.getpid()))\n"
        'os.write(fd, b\'{"call":"start","step":"convert"}\\n\')\n'
        "threading.Event().wait()\n"
    )
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from portside.building.isolate import run_child\n"
        "from portside.errors import ConversionFailed\n"
        "from portside.observe.null import NullProgress\n"
        "class Die(NullProgress):\n"
        "    def start(self, step, total=None):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        f"run_child((sys.executable, {str(step)!r}), Path({str(folder)!r}), 60, Die(), ConversionFailed)\n"
    )
    assert subprocess.run([sys.executable, str(parent)], check=False, timeout=60).returncode == -signal.SIGKILL
    assert gone(int((folder / "pid").read_text()))


def gone(pid: int) -> bool:
    """Whether a process ends within a few seconds; a zombie nobody collected counts as ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    import select

    try:
        return bool(select.select([handle], [], [], 20)[0])
    finally:
        os.close(handle)
