"""The port every engine implements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from portside.model.artifact import Format
from portside.model.config import EngineConfig, EngineName, Precision
from portside.model.tensors import Array


class Session(Protocol):
    """An artifact loaded by an engine, for one caller at a time.

    Called from whichever thread owns the instance, never from two at once. Sessions of one ``load`` may run at the
    same time as each other and share the weights where the engine can.
    """

    @property
    def input_names(self) -> Sequence[str]:
        """Graph inputs, in the graph's order."""

    @property
    def output_names(self) -> Sequence[str]:
        """Graph outputs, in the graph's order."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the graph once.

        The arrays of ``inputs`` are only read and may be read-only; the returned arrays belong to the caller (a later
        ``run`` does not change them).

        Raises:
            InvalidTensor: the engine refused the inputs' shapes.
            EngineFailed: anything else.
        """


class Engine(Protocol):
    """A runtime. Holds no state between loads; may be called from any thread."""

    @property
    def name(self) -> EngineName:
        """Which engine this is."""

    @property
    def formats(self) -> frozenset[Format]:
        """What it can load."""

    def version(self) -> str:
        """Version of the runtime library."""

    def precisions(self) -> frozenset[Precision]:
        """The arithmetic this engine can use on this processor with a gain to hope for (FP32 always)."""

    def load(self, entry: Path, config: EngineConfig) -> Sequence[Session]:
        """Loads the file ``entry`` and returns ``config.instances`` sessions of ``config.threads`` threads each.

        Nothing but dropping the last reference is needed to free them.

        Raises:
            EngineFailed: the file cannot be loaded; the message says what was recognised.
            Unsupported: the precision or the format is not this engine's.
        """
