"""The steps of the line: what each takes, what it gives, and where the functions are that do it.

A step is a function ``(input, context) -> output``. Input and output are values; files pass from step to step through
the workspace. It runs in a process of its own, so it may import what the parent never does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from portside.building.failure import Failure
from portside.building.toolbox import Toolbox
from portside.building.workspace import FILES
from portside.errors import PortsideError
from portside.model.artifact import ArtifactFile
from portside.observe.ports import Progress

I = TypeVar("I", bound=msgspec.Struct)  # noqa: E741 -- input, beside output
O = TypeVar("O", bound=msgspec.Struct)  # noqa: E741


class StepName(Enum):
    """The steps that run in processes of their own, in order; the value names the folder in the workspace."""

    CONVERT = "convert"
    OPTIMIZE = "optimize"
    TUNE = "tune"


@dataclass(frozen=True)
class Context:
    """What a running step works with.

    Attributes:
        tools: the plug-ins.
        workspace: the build's folder.
        files: where this step puts its files; empty at first.
        progress: shown to the person who waits.
    """

    tools: Toolbox
    workspace: Path
    files: Path
    progress: Progress

    def made_by(self, step: StepName) -> Path:
        """The folder with the files of an earlier step."""
        return self.workspace / step.value / FILES


@dataclass(frozen=True)
class Step(Generic[I, O]):
    """One step.

    Attributes:
        name: which.
        input: what it takes.
        output: what it gives.
        run: does it.
        failure: what is raised when it crashes or breaks in a foreign way.
    """

    name: StepName
    input: type[I]
    output: type[O]
    run: Callable[[I, Context], O]
    failure: type[PortsideError]


class Job(msgspec.Struct, frozen=True):
    """What ``input.json`` holds.

    Attributes:
        step: which step.
        input: its input, as JSON.
        search: where modules of the user are found, besides the child's own places.
    """

    step: StepName
    input: msgspec.Raw
    search: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What ``output.json`` holds: output or failure; the other is left out (the output is empty then).

    Attributes:
        output: what the step gives, as JSON.
        failure: what stopped it.
        code: the user's modules that it imported, with digests; paths relative to ``/``.
    """

    output: msgspec.Raw = msgspec.Raw(b"")
    failure: Failure | None = None
    code: tuple[ArtifactFile, ...] = ()
