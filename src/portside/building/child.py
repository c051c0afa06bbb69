"""The inside of a step's process: reads ``input.json``, runs the step, writes ``output.json``."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import os
import select
import shutil
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from portside.building.convert_step import CONVERT
from portside.building.failure import describe
from portside.building.isolate import INPUT, OUTPUT, PROGRESS_OPTION, ProgressCall
from portside.building.optimize_step import OPTIMIZE
from portside.building.steps import Answer, Context, Job, Step, StepName
from portside.building.toolbox import Toolbox
from portside.building.tune_step import TUNE
from portside.building.workspace import FILES, write
from portside.model.artifact import ArtifactFile, file_entry
from portside.model.manifest import encode
from portside.observe.null import NullProgress
from portside.observe.ports import Progress

STEPS: Mapping[StepName, Step[Any, Any]] = MappingProxyType({s.name: s for s in (CONVERT, OPTIMIZE, TUNE)})
"""Every step that may be asked for."""
TEMPORARY = "tmp"
"""Folder of a running step's temporary files, in the step's folder."""


def main(arguments: Sequence[str], tools: Toolbox) -> int:
    """What a step's process does: runs the step in the folder that ``arguments`` name.

    ``--into`` puts the results into another folder.

    Returns:
        exit status: 0 whenever there is an answer in ``output.json``, be it an error.
    """
    options = _parser().parse_args(arguments)
    # a crash in native code leaves its Python stack in the log, and what was printed before it is there too
    faulthandler.enable()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    folder = Path(options.folder).absolute()
    into = Path(options.into).absolute() if options.into else folder
    progress: Progress = NullProgress()
    if options.progress_fd is not None:
        os.set_inheritable(options.progress_fd, False)
        end_with_parent(options.progress_fd)
        progress = PipeProgress(options.progress_fd)
    with own_temporary_files(into):
        answer = run_step(folder, into, tools, progress)
    if answer.failure is not None:
        sys.stderr.write(f"{answer.failure.message}\n{answer.failure.detail or ''}\n")
    return 0


@contextlib.contextmanager
def own_temporary_files(into: Path) -> Iterator[None]:
    """Keeps temporary files beside the step's others: what a killed step leaves goes away with its folder."""
    folder = into / TEMPORARY
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)


def run_step(folder: Path, into: Path, tools: Toolbox, progress: Progress) -> Answer:
    """Runs the step that ``folder/input.json`` asks for; its files and ``output.json`` go into ``into``.

    Changes ``sys.path``: the user's modules have to be found.

    Returns:
        what was written.

    Raises:
        OSError, msgspec.MsgspecError: the input cannot be read; that is no fault of the step.
    """
    job = msgspec.json.decode((folder / INPUT).read_bytes(), type=Job)
    (into / FILES).mkdir(parents=True, exist_ok=True)
    sys.path.extend(p for p in job.search if p not in sys.path)
    answer = _answer(job, Context(tools, folder.parent, into / FILES, progress))
    write(into / OUTPUT, msgspec.json.encode(answer))
    return answer


def _answer(job: Job, context: Context) -> Answer:
    step = STEPS[job.step]
    try:
        output = step.run(msgspec.json.decode(job.input, type=step.input), context)
        return Answer(output=msgspec.Raw(encode(output)), code=users_code())
    except Exception as e:  # noqa: BLE001 -- whatever happens in a step has to reach the parent as data
        return Answer(failure=describe(e, job.step.value, step.failure))


def users_code() -> tuple[ArtifactFile, ...]:
    """The modules that this process has imported from neither an installed package nor Python itself, nor from here.

    They decide what a network named by import path computes, wherever it gathers its parts from.
    """
    known = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    known.add(Path(__file__).resolve().parents[1])
    found = set()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        path = Path(file).resolve() if isinstance(file, str) else None
        if path is not None and path.is_file() and known.isdisjoint(path.parents):
            found.add(path.relative_to("/").as_posix())
    return tuple(file_entry(Path("/"), name) for name in sorted(found))


class PipeProgress:
    """Progress as JSON lines on a file descriptor. The parent going away is not an error here."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def start(self, step: str, total: int | None = None) -> None:
        """A phase begins."""
        self._send(ProgressCall("start", step=step, total=total))

    def advance(self, done: int = 1, note: str = "") -> None:
        """Some of it was done."""
        self._send(ProgressCall("advance", done=done, note=note))

    def finish(self, note: str = "") -> None:
        """It is over."""
        self._send(ProgressCall("finish", note=note))

    def _send(self, call: ProgressCall) -> None:
        try:
            os.write(self._descriptor, msgspec.json.encode(call) + b"\n")
        except BrokenPipeError:
            os._exit(1)


def end_with_parent(descriptor: int) -> None:
    """Ends this process as soon as nobody reads the other end of the pipe any more."""

    def wait() -> None:
        poller = select.poll()
        # no event asked for: only the unconditional ones (error, hang-up) end the wait
        poller.register(descriptor, 0)
        poller.poll()
        os._exit(1)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Runs one step of a build (started by a build, or by reproduce.py).")
    parser.add_argument("folder", help="folder of the step, with its input.json")
    parser.add_argument("--into", help="folder for the results; by default the step's own")
    parser.add_argument(PROGRESS_OPTION, type=int, default=None, help=argparse.SUPPRESS)
    return parser
