"""The inputs of a check: made, and kept on disk with what the original framework answered to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from portside.model.evidence import CaseKind
from portside.model.processing import Processing
from portside.model.signature import Signature
from portside.model.tensors import Array


class RealSamples(Protocol):
    """Real inputs, one row each, already through the exact processing."""

    @property
    def pixels(self) -> npt.NDArray[np.uint8] | None:
        """uint8[rows, height, width, channels] for a model with image processing, else ``None``."""

    @property
    def arrays(self) -> Mapping[str, Array]:
        """By input name, rows first, for a model without image processing; empty where there are none."""


class Case(msgspec.Struct, frozen=True):
    """One call of the model.

    Attributes:
        name: for a person ("real 0-7").
        kind: where it came from.
        inputs: by the names of the *original* network's inputs; pictures are normalised float32.
        pixels: the same pictures as uint8[n, height, width, channels], for a graph that normalises itself.
        expected: what the original framework answered, by output name; ``None`` before it was asked.
    """

    name: str
    kind: CaseKind
    inputs: Mapping[str, Array]
    pixels: npt.NDArray[np.uint8] | None = None
    expected: Mapping[str, Array] | None = None


def make_cases(signature: Signature, processing: Processing, samples: RealSamples | None, seed: int) -> list[Case]:
    """Makes real, random and edge cases for a model.

    Args:
        signature: of the converted graph, nothing fused into it.
        processing: what happens around it, its names filled in.
        samples: real inputs; ``None`` or empty: none.
        seed: of the random cases; the same arguments give the same cases.
    """
    raise NotImplementedError


def save_cases(path: Path, cases: Sequence[Case]) -> None:
    """Writes cases into one ``.npz`` without pickles. Raises OSError."""
    raise NotImplementedError


def load_cases(path: Path) -> list[Case]:
    """Reads what :func:`save_cases` wrote. Raises CorruptArtifact."""
    raise NotImplementedError
