"""The port every converter implements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from portside.model.source import Converted, Source
from portside.model.tensors import Array


class Recognised(msgspec.Struct, frozen=True):
    """What a converter saw in a source.

    Attributes:
        what: for a person ("TorchScript archive", "Keras 3 model").
        converter: the converter that reads it.
        extra: the optional part it needs.
    """

    what: str
    converter: str
    extra: str


class Reference(Protocol):
    """The original network, in its own framework, in evaluation mode, ready to answer.

    Used from one thread. ``framework`` is its name and version, for example ``PyTorch 2.13.0 eager``.
    """

    @property
    def framework(self) -> str:
        """Name and version of the framework, as shown to a person."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Answers once; inputs and outputs by the signature's names. Raises ConversionFailed."""

    def set_threads(self, threads: int) -> None:
        """Sets how many threads one call may use, where the framework allows; otherwise does nothing."""


class Converter(Protocol):
    """Reads one family of sources. Heavy frameworks are imported inside ``convert`` and ``reference`` only."""

    @property
    def name(self) -> str:
        """Stable name, ``source2target`` ("torch2onnx")."""

    def recognise(self, source: Source) -> Recognised | None:
        """Looks at names and first bytes, imports nothing heavy; ``None`` if it is not this converter's."""

    def convert(self, source: Source, folder: Path) -> Converted:
        """Writes the portable graph into ``folder``.

        Raises:
            MissingExtra: the framework is not installed.
            SourceNotRecognised: on a closer look it is something else (a bare state dict, say).
            InvalidSettings: the source needs something the caller did not give (inputs, a checkpoint).
            ConversionFailed: the framework could not export it.
        """

    def reference(self, source: Source, converted: Converted) -> Reference:
        """Loads the original for golden outputs and for the baseline's timing. Raises as ``convert``."""
