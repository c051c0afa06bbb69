"""Compares a candidate with what the original framework answered, and says what that proves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from portside.engine.base import Engine
from portside.model.config import EngineConfig, EngineName
from portside.model.evidence import Evidence
from portside.model.processing import Processing
from portside.model.signature import Signature
from portside.verify.cases import Case


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


def check(
    subject: Subject, cases: Sequence[Case], engines: Mapping[EngineName, Engine], config: EngineConfig
) -> Evidence:
    """Checks one way of running a candidate.

    Args:
        subject: what is checked.
        cases: with ``expected`` filled in by the original framework.
        engines: ``config.engine`` is the one under test; another one, if there is one, helps to measure the noise.
        config: how the candidate is run; instances and threads are those of the check too.

    Raises:
        InvalidSettings: there are no cases, or the engine is not among ``engines``.
        EngineFailed: the *converted* graph cannot be run (a candidate that cannot be run is a failed check).
    """
    raise NotImplementedError
