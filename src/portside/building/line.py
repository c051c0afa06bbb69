"""Runs the steps of one build one after another, and reuses a step that was finished with exactly this input."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from portside.building.failure import LOOK, revive
from portside.building.isolate import INPUT, OUTPUT, Phase, run_child, tail
from portside.building.steps import Answer, Job, Step, StepName
from portside.building.workspace import DONE, FILES, Workspace, entries, import_paths, unchanged, write
from portside.errors import InvalidSettings, MissingExtra, PortsideError, SourceNotRecognised
from portside.model.artifact import ArtifactFile
from portside.model.manifest import encode
from portside.observe.ports import Progress

I = TypeVar("I", bound=msgspec.Struct)  # noqa: E741 -- input, beside output
O = TypeVar("O", bound=msgspec.Struct)  # noqa: E741

REPRODUCE = "reproduce.py"

_UNITS_THAT_MATTER = ("building", "convert", "engine", "model", "optimize", "processing", "verify")
_VERSIONS_THAT_MATTER = (
    "keras", "numpy", "onnx", "onnxruntime", "onnxscript", "onnxslim", "openvino", "pillow", "tensorflow", "tf2onnx",
    "torch",
)  # fmt: skip


class Done(msgspec.Struct, frozen=True):
    """Written when a step is finished.

    Attributes:
        key: of everything that the step depended on.
        output: its output, as JSON.
        files: what it made, with digests.
        phases: what a person was shown.
        duration_s: how long it took, seconds.
        code: the user's modules that it imported, with digests; paths relative to ``/``.
    """

    key: str
    output: msgspec.Raw
    files: tuple[ArtifactFile, ...]
    phases: tuple[Phase, ...]
    duration_s: float
    code: tuple[ArtifactFile, ...] = ()


class StepRecord(msgspec.Struct, frozen=True):
    """One step of a build as it went.

    Attributes:
        name: the step.
        cached: an earlier run had finished it with the same input.
        duration_s: how long it took when it ran, seconds.
        notes: the phases that it showed.
    """

    name: StepName
    cached: bool
    duration_s: float
    notes: tuple[Phase, ...]


class Line:
    """The steps of one build. Used from one thread, while the workspace is held.

    Attributes:
        records: the steps that are finished, in order.
    """

    def __init__(self, workspace: Workspace, command: Sequence[str], progress: Progress) -> None:
        self.records: list[StepRecord] = []
        self._workspace = workspace
        self._command = tuple(command)
        self._progress = progress
        self._made: dict[str, str] = {}

    def run(self, step: Step[I, O], given: I, depends: Mapping[str, str], limit_s: float) -> O:
        """Runs one step, or takes the answer of an earlier run. It may read what the steps before it made.

        Args:
            step: which.
            given: its input.
            depends: digests of what else the answer depends on, by what they are of.
            limit_s: how long it may take, seconds.

        Raises:
            PortsideError: whatever the step raised, or its ``failure`` if it crashed.
        """
        key = step_key(step.name, given, {**self._made, **depends})
        name = step.name.value
        done = finished(self._workspace.step(name), key)
        cached = done is not None
        if done is None:
            done = self._run(step, given, key, limit_s)
        else:
            for phase in done.phases:
                self._progress.start(phase.name)
                self._progress.finish(f"{phase.note} (done before)".lstrip())
        self._made |= {f"{name}/{entry.path}": entry.sha256 for entry in done.files}
        self.records.append(StepRecord(step.name, cached, done.duration_s, done.phases))
        return msgspec.json.decode(done.output, type=step.output)

    def _run(self, step: Step[I, O], given: I, key: str, limit_s: float) -> Done:
        folder = self._workspace.clear_step(step.name.value)
        job = Job(step.name, msgspec.Raw(msgspec.json.encode(given)), import_paths())
        write(folder / INPUT, encode(job))
        write(folder / REPRODUCE, _script(step.name, self._command).encode())
        started = time.monotonic()
        phases = run_child(self._command, folder, limit_s, self._progress, step.failure)
        answer = _answer(step, folder)
        took_s = round(time.monotonic() - started, 3)
        done = Done(key, answer.output, entries(folder / FILES), phases, took_s, answer.code)
        write(folder / DONE, encode(done))
        return done


def _answer(step: Step[I, O], folder: Path) -> Answer:
    """The answer that the child left, checked to be one. Raises what the child raised."""
    try:
        answer = msgspec.json.decode((folder / OUTPUT).read_bytes(), type=Answer)
        if answer.failure is None:
            msgspec.json.decode(answer.output, type=step.output)
    except (OSError, msgspec.MsgspecError) as e:
        raise step.failure(
            f"the step '{step.name.value}' gave an answer that makes no sense; {LOOK}", detail=f"{e}\n{tail(folder)}"
        ) from e
    if answer.failure is not None:
        raise _with_hint(revive(answer.failure), folder)
    return answer


def _with_hint(error: PortsideError, folder: Path) -> PortsideError:
    if isinstance(error, InvalidSettings | MissingExtra | SourceNotRecognised):
        return error  # running it again would say the same: it is the user's turn
    again = f"run this step again: {sys.executable} {folder / REPRODUCE}"
    error.detail = f"{error.detail}\n{again}" if error.detail else again
    return error


def finished(folder: Path, key: str) -> Done | None:
    """What an earlier run left, if it was made from the same things and nothing of it has changed since."""
    try:
        done = msgspec.json.decode((folder / DONE).read_bytes(), type=Done)
    except (OSError, msgspec.MsgspecError):
        return None
    same = done.key == key and unchanged(folder / FILES, done.files) and unchanged(Path("/"), done.code)
    return done if same else None


def step_key(name: StepName, given: msgspec.Struct, depends: Mapping[str, str]) -> str:
    """SHA-256 over everything that a step's answer depends on: input, files, and the code that does the work."""
    lines = [name.value, msgspec.json.encode(given).decode(), _own_code(), *_installed()]
    lines += [f"{label} {digest}" for label, digest in sorted(depends.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _own_code() -> str:
    """Digest of the modules that do the work: a version number does not change while somebody works on them."""
    total = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(path for unit in _UNITS_THAT_MATTER for path in (root / unit).rglob("*.py")):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def _installed() -> list[str]:
    found = []
    for package in _VERSIONS_THAT_MATTER:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _script(name: StepName, command: Sequence[str]) -> str:
    """A script that runs the step again from the ``input.json`` beside it."""
    return f'''"""Runs the step '{name.value}' of this build again; the results go into the folder 'again' beside it."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
COMMAND = {list(command)!r}

if __name__ == "__main__":
    line = [*COMMAND, str(FOLDER), "--into", str(FOLDER / "again"), *sys.argv[1:]]
    status = subprocess.run(line, cwd={str(Path.cwd())!r}, check=False).returncode
    sys.exit(status if status >= 0 else 128 - status)
'''
