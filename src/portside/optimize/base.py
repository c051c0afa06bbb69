"""The contract of a graph transformation: ``requires`` -> ``apply`` -> ``ensures``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from portside.model.processing import Processing
from portside.model.signature import Signature

if TYPE_CHECKING:
    import onnx


class Graph(msgspec.Struct):
    """A graph on its way through the passes.

    Attributes:
        proto: the ONNX model, weights inside; a pass may change it in place.
        signature: kept true by every pass.
        processing: what the graph does not do itself (a fusing pass moves work from here into the graph).
    """

    proto: onnx.ModelProto
    signature: Signature
    processing: Processing = Processing()


class Pass(Protocol):
    """One transformation. Deterministic, without state."""

    @property
    def name(self) -> str:
        """Stable name, written into the manifest."""

    def requires(self, graph: Graph) -> str | None:
        """Why the pass does not apply (a sentence), or ``None`` if it does."""

    def apply(self, graph: Graph) -> Graph:
        """Does the work; the result may be the same object."""

    def ensures(self, before: Signature, after: Graph) -> str | None:
        """Which promise was broken (a sentence), or ``None``. ``before`` is the signature before ``apply``."""


class PassOutcome(msgspec.Struct, frozen=True):
    """What one pass did.

    Attributes:
        name: the pass.
        applied: whether it ran.
        modified: whether the graph changed.
        note: why it did not run, or what it did (node counts).
    """

    name: str
    applied: bool
    modified: bool
    note: str


class Optimized(msgspec.Struct, frozen=True):
    """Result of the optimise step.

    Attributes:
        graph: file name of the written graph, relative to the step's folder.
        files: all files of the graph.
        signature: of the written graph.
        processing: what is left to do around it.
        outcomes: one a pass, in order.
    """

    graph: str
    files: tuple[str, ...]
    signature: Signature
    processing: Processing
    outcomes: tuple[PassOutcome, ...]


def artifact_path(folder: Path, optimized: Optimized) -> Path:
    """The file an engine opens."""
    return folder / optimized.graph
