"""Measures the ways a model can be run on this machine, and keeps the fastest that answers right."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec

from portside.building.candidates import Way, configs, ways
from portside.building.choose import choose, explain
from portside.building.measure import Baseline, Measured, measure, typical_case
from portside.building.table import baseline_row, label_of, row, way_of, with_speedup
from portside.engine.base import Engine
from portside.engine.recognise import format_of
from portside.errors import InvalidSettings
from portside.model.config import EngineConfig, EngineName, Goal, Precision
from portside.model.evidence import Evidence, Measurement, Verdict
from portside.observe.ports import Progress
from portside.verify.cases import Case
from portside.verify.check import gate
from portside.verify.subject import Subject
from portside.verify.yardstick import Yardstick, yardstick

__all__ = ["Baseline", "TuneOptions", "Tuned", "tune"]

_PERCENT = 100
_RANK = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)
_LEAST_NOISE = 0.03
_MOST_NOISE = 0.10


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
    budget_s: float = 12.0


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
        MissingExtra: ``onnx`` is not installed.
    """
    found = ways(engines, format_of(subject.candidate.path), options.engines, options.precisions)
    if not found:
        allowed = ", ".join(name.value for name in options.engines)
        raise InvalidSettings(
            f"none of the allowed engines ({allowed}) runs this model in "
            f"{' or '.join(p.value for p in options.precisions)}: allow another engine or fp32"
        )
    with yardstick(subject, cases, engines) as measure_by:
        gated = _gate_all(measure_by, found, options.cores, progress)
        tried = _tried(gated, options.cores)
        measured = _measure_all(measure_by, tried, options, baseline, progress)
        tuned = _decide(measure_by, tried, gated, measured, options)
    progress.finish(f"{tuned.config}")
    if baseline is None or measured.baseline is None:
        return tuned
    rows = (baseline_row(baseline, measured.baseline), *tuned.measurements)
    return msgspec.structs.replace(tuned, measurements=rows)


def _gate_all(measure_by: Yardstick, found: Sequence[Way], cores: int, progress: Progress) -> dict[Way, Evidence]:
    """One check of each way, with all cores."""
    progress.start("verify", len(found))
    gated = {}
    for way in found:
        gated[way] = gate(measure_by, EngineConfig(way.engine, way.precision, cores, 1))
        progress.advance(note=f"{label_of(way)}: {gated[way].verdict.value}")
    progress.finish(", ".join(f"{label_of(way)} {evidence.verdict.value}" for way, evidence in gated.items()))
    return gated


def _tried(gated: Mapping[Way, Evidence], cores: int) -> list[EngineConfig]:
    """All splits of the ways with the best verdict; one of each other way, so that the table shows what it costs."""
    best = min((evidence.verdict for evidence in gated.values()), key=_RANK.index)
    tried: list[EngineConfig] = []
    for way, evidence in gated.items():
        every = configs(way, cores)
        tried += every if evidence.verdict is best and best is not Verdict.FAIL else every[:1]
    return tried


def _measure_all(
    measure_by: Yardstick,
    tried: Sequence[EngineConfig],
    options: TuneOptions,
    baseline: Baseline | None,
    progress: Progress,
) -> Measured:
    progress.start("tune", _PERCENT)
    tick = _Clockwork(progress, options.budget_s).tick
    pairs = [(measure_by.engines[config.engine], config) for config in tried]
    case = typical_case(measure_by.cases)
    return measure(measure_by.subject, case, pairs, baseline, options.budget_s, tick)


class _Clockwork:
    """Turns time into progress: nobody knows how many rounds fit."""

    def __init__(self, progress: Progress, budget_s: float) -> None:
        self._progress = progress
        self._budget_s = budget_s
        self._start = time.monotonic()
        self._shown = 0

    def tick(self) -> None:
        """Shows how much of the time is gone."""
        gone = min(_PERCENT, int(_PERCENT * (time.monotonic() - self._start) / self._budget_s))
        if gone > self._shown:
            self._progress.advance(gone - self._shown)
            self._shown = gone


def _decide(
    measure_by: Yardstick,
    tried: Sequence[EngineConfig],
    gated: Mapping[Way, Evidence],
    measured: Measured,
    options: TuneOptions,
) -> Tuned:
    """Chooses, and checks the chosen configuration itself where its threads are not those of the gate."""
    noise = _noise(measured, options.goal)
    judged = [_judged(gated[way_of(config)], measured.failures.get(i)) for i, config in enumerate(tried)]
    # Every turn either ends or takes one configuration out of the choice.
    for _ in tried:
        rows = [row(config, judged[i], measured.candidates[i]) for i, config in enumerate(tried)]
        chosen = choose(rows, options.goal, noise)
        if chosen is None:
            break
        if tried[chosen].threads == options.cores:
            return _tuned(tried[chosen], judged[chosen], explain(rows, chosen, options.goal, noise), measured, noise)
        before, judged[chosen] = judged[chosen], gate(measure_by, tried[chosen])
        if judged[chosen].verdict is before.verdict:
            return _tuned(tried[chosen], judged[chosen], explain(rows, chosen, options.goal, noise), measured, noise)
    rows = [row(config, judged[i], measured.candidates[i]) for i, config in enumerate(tried)]
    closest = min(range(len(tried)), key=lambda i: _distance(judged[i]))
    rows[closest] = msgspec.structs.replace(rows[closest], chosen=True)
    return _tuned(tried[closest], judged[closest], rows, measured, noise)


def _noise(measured: Measured, goal: Goal) -> float:
    """How far apart two measurements have to be to differ, as a part."""
    seen = 2 * abs(measured.control - 1) if goal is Goal.LATENCY else measured.spread
    return min(_MOST_NOISE, max(_LEAST_NOISE, seen))


def _judged(evidence: Evidence, failure: str | None) -> Evidence:
    """The evidence about a configuration: that of its engine and precision, unless it could not even be loaded."""
    if failure is None:
        return evidence
    return msgspec.structs.replace(evidence, verdict=Verdict.FAIL, reasons=(failure,))


def _distance(evidence: Evidence) -> tuple[bool, float]:
    """How far answers are from the original's; without any to compare, further than everything."""
    worst = max((output.max_abs / output.limit for output in evidence.outputs if output.limit > 0), default=0.0)
    return not evidence.outputs, worst


def _tuned(
    config: EngineConfig, evidence: Evidence, rows: Sequence[Measurement], measured: Measured, noise: float
) -> Tuned:
    said = (
        f"the same runner, timed under two names: {measured.control:.3f} to 1; turns of one throughput differ by "
        f"{measured.spread:.0%}; differences under {noise:.0%} count as none"
    )
    checks = {**evidence.checks, "timing": said}
    checked = msgspec.structs.replace(evidence, config=str(config), checks=checks)
    return Tuned(config, checked, tuple(with_speedup(rows, measured.baseline)))
