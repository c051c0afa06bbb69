"""What is checked: values only."""

from __future__ import annotations

from pathlib import Path

import msgspec

from portside.model.processing import Processing
from portside.model.signature import Signature


class Stage(msgspec.Struct, frozen=True):
    """A graph at one point of the line.

    Attributes:
        path: the file that an engine opens.
        signature: what it takes and gives.
        processing: what happens around it (``image.fused`` says whether it takes pixels).
    """

    path: Path
    signature: Signature
    processing: Processing = Processing()


class Subject(msgspec.Struct, frozen=True):
    """What is checked.

    Attributes:
        converted: the graph as the converter wrote it.
        candidate: the graph that would be published.
        digest: of the candidate's artifact.
        seed: of the random cases, and of the choice of the weight that the self-test spoils.
        raw: some real samples as they came (picture files), for the check of the shipped processing.
    """

    converted: Stage
    candidate: Stage
    digest: str
    seed: int = 0
    raw: tuple[bytes, ...] = ()
