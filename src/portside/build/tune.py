"""Measures the ways a model can be run on this machine, and keeps the fastest that answers right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from portside.engine.base import Engine
from portside.model.config import EngineConfig, EngineName, Goal, Precision
from portside.model.evidence import Evidence, Measurement
from portside.model.tensors import Array
from portside.observe.ports import Progress
from portside.verify.cases import Case
from portside.verify.check import Subject


class Baseline(msgspec.Struct, frozen=True):
    """The original network in its own framework, for comparison (``convert.base.Reference``).

    Attributes:
        label: framework and version, for a person ("PyTorch 2.13.0 eager").
        run: answers once, inputs by name; called from one thread.
        threads: how many threads one call uses.
    """

    label: str
    run: Callable[[Mapping[str, Array]], object]
    threads: int = 1


class TuneOptions(msgspec.Struct, frozen=True):
    """What may be chosen, and how long to look.

    Attributes:
        goal: what "fastest" means.
        engines: engines that may be chosen.
        precisions: arithmetics that may be chosen.
        cores: threads that the service may use.
        budget_s: about how long all measurements together may take, seconds.
    """

    goal: Goal = Goal.LATENCY
    engines: tuple[EngineName, ...] = tuple(EngineName)
    precisions: tuple[Precision, ...] = tuple(Precision)
    cores: int = 1
    budget_s: float = 15.0


class Tuned(msgspec.Struct, frozen=True):
    """What the tuner found.

    Attributes:
        config: the fastest that passes; if none does, the one that came closest.
        evidence: about exactly that engine and precision.
        measurements: one a candidate, the baseline first; the losers say why they lost.
    """

    config: EngineConfig
    evidence: Evidence
    measurements: tuple[Measurement, ...]


def tune(
    subject: Subject,
    cases: Sequence[Case],
    engines: Mapping[EngineName, Engine],
    options: TuneOptions,
    baseline: Baseline | None,
    progress: Progress,
) -> Tuned:
    """Gates every engine and precision, measures those that pass, and chooses.

    Args:
        subject: what is tuned; with ``subject.raw`` the throughput includes the declared processing.
        cases: with ``expected`` filled in by the original framework.
        engines: those that are installed.
        options: what may be chosen.
        baseline: the original, measured in the same interleaved rounds; ``None``: speed-ups refer to the first row.
        progress: phases "verify" and "tune".

    Raises:
        InvalidSettings: nothing to choose from, or there are no cases.
        EngineFailed: the converted graph cannot be run.
    """
    raise NotImplementedError
