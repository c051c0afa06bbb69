"""What a build works with: handed in by the composition root, because ``build`` knows ports and no plug-ins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portside.convert.base import Converter
from portside.engine.base import Engine
from portside.model.config import EngineName
from portside.optimize.base import Pass


@dataclass(frozen=True)
class Toolbox:
    """The plug-ins, and how a step is started in a process of its own.

    Attributes:
        converters: tried in this order.
        engines: what the tuner may choose from.
        passes: graph passes, in order.
        fusing: passes that move processing into the graph; run after ``passes`` if the recipe wants it.
        step_command: command line that runs one step with this same toolbox; the step's folder is appended.
    """

    converters: Sequence[Converter]
    engines: Mapping[EngineName, Engine]
    passes: Sequence[Pass]
    fusing: Sequence[Pass]
    step_command: tuple[str, ...]
