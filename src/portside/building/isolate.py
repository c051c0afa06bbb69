"""Runs one step in a process of its own, so that whatever happens in there the build goes on to tell about it.

The child finds ``input.json`` in its folder and leaves ``output.json`` (see :mod:`portside.building.child`). Its
standard output and error go to ``log.txt``. Progress comes back through a pipe, one JSON line a call; the child also
ends itself when the other end of that pipe is gone, so that no step outlives a build that was killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from portside.building.failure import LOOK
from portside.building.workspace import FILES
from portside.errors import DeadlineExceeded, PortsideError
from portside.observe.ports import Progress

INPUT = "input.json"
OUTPUT = "output.json"
LOG = "log.txt"
PROGRESS_OPTION = "--progress-fd"

_TAIL_BYTES = 4000
_LINE_BYTES = 65_536
_LOOK_S = 0.25


class ProgressCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call of the progress port, as it crosses the pipe."""

    call: str
    step: str = ""
    total: int | None = None
    done: int = 0
    note: str = ""


class Phase(msgspec.Struct, frozen=True):
    """One finished piece of work as a person saw it: its name, and what summed it up."""

    name: str
    note: str


def run_child(
    command: Sequence[str], folder: Path, limit_s: float, progress: Progress, crash: type[PortsideError]
) -> tuple[Phase, ...]:
    """Runs ``command folder --progress-fd N`` to its end.

    Args:
        command: what starts a step, without the folder.
        folder: of the step; ``input.json`` is there, ``output.json`` is written there.
        limit_s: the child is killed when it takes longer, seconds.
        progress: receives the child's progress.
        crash: what is raised when the child dies without an answer.

    Returns:
        the phases that the child finished.

    Raises:
        DeadlineExceeded: it took too long.
        PortsideError: of the class ``crash``, with the end of the log in ``detail``.
    """
    relay = _Relay(progress)
    reader, writer = os.pipe()
    try:
        with (folder / LOG).open("wb") as log:
            child = subprocess.Popen(
                [*command, str(folder), PROGRESS_OPTION, str(writer)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                start_new_session=True,
            )
        os.close(writer)
        writer = -1
        try:
            status = _watch(child, reader, time.monotonic() + limit_s, relay.line)
        finally:
            _end(child)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    step = folder.name
    if status is None:
        relay.broken()
        raise DeadlineExceeded(
            f"the step '{step}' took longer than its limit of {limit_s:g} s and was ended: raise the limit; " + LOOK,
            detail=tail(folder),
        )
    if status != 0 or not (folder / OUTPUT).is_file():
        relay.broken()
        raise crash(f"the step '{step}' {_death(status)}; {LOOK}", detail=tail(folder))
    return tuple(relay.phases)


def tail(folder: Path) -> str:
    """The end of a step's log, and of logs that a dying converter left among the files, for an error's detail."""
    return "\n".join(_tail(path) for path in (folder / LOG, *sorted(folder.glob(f"{FILES}/**/*.log"))))


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = log.read().decode("utf-8", "replace")
    except OSError as e:
        return f"{path} cannot be read: {e}"
    return f"end of {path}:\n{text}"


class _Relay:
    """Hands the child's progress on and remembers which phases it finished."""

    def __init__(self, progress: Progress) -> None:
        self.phases: list[Phase] = []
        self._progress = progress
        self._open = ""

    def line(self, data: bytes) -> None:
        """One line of the pipe; what is not a call is dropped (progress must never break a build)."""
        try:
            call = msgspec.json.decode(data, type=ProgressCall)
        except msgspec.MsgspecError:
            return
        if call.call == "start":
            self._open = call.step
            self._progress.start(call.step, call.total)
        elif call.call == "advance":
            self._progress.advance(call.done, call.note)
        elif call.call == "finish" and self._open:
            self.phases.append(Phase(self._open, call.note))
            self._open = ""
            self._progress.finish(call.note)

    def broken(self) -> None:
        """The child is gone: a phase that is still open ends here."""
        if self._open:
            self._open = ""
            self._progress.finish("failed")


def _watch(child: subprocess.Popen[bytes], reader: int, deadline: float, line: Callable[[bytes], None]) -> int | None:
    """Feeds ``line`` until the child has ended; its exit status, or ``None`` if the deadline came first."""
    pending = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        readable, _, _ = select.select([reader], [], [], min(left, _LOOK_S))
        if readable:
            chunk = os.read(reader, _LINE_BYTES)
            if not chunk:
                break
            *lines, pending = (pending + chunk).split(b"\n")
            for each in lines:
                line(each)
            pending = pending[-_LINE_BYTES:]
        elif child.poll() is not None:
            break
    try:
        return child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kills the child's process group if the child is still there, and collects it."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _death(status: int) -> str:
    """How a process ended, as the rest of a sentence."""
    if status == -signal.SIGKILL:
        return "was killed from outside (SIGKILL), most likely because the memory ran out"
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return f"crashed ({name})"
    return f"ended with exit status {status} and without an answer"
