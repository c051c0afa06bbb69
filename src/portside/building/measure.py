"""Times the candidates of a build, and the original beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from portside.engine.base import Engine, Session
from portside.errors import PortsideError
from portside.model.config import EngineConfig
from portside.model.evidence import CaseKind
from portside.model.tensors import Array
from portside.processing.image import decode, normalise, tensor
from portside.verify.answers import feed
from portside.verify.cases import Case
from portside.verify.latency import interleave, throughput
from portside.verify.subject import Stage, Subject

_LATENCY_PART = 0.4
_ROUNDS = 3
_SHORTEST_S = 0.15
_CONTROL = "A/A control"
_BASELINE = "baseline"

Call = Callable[[], object]


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


class Times(msgspec.Struct, frozen=True):
    """What was measured for one candidate.

    Attributes:
        latency_s: median of one call with one row.
        p95_s: its 95th percentile.
        rows_per_s: with all instances busy.
    """

    latency_s: float
    p95_s: float
    rows_per_s: float


class Measured(msgspec.Struct, frozen=True):
    """What was measured.

    Attributes:
        candidates: one a configuration, in order; ``None`` where it could not be loaded.
        baseline: of the original, if it was given.
        control: median of a runner over the median of the same runner under another name.
        spread: between the best and the worst turn of a throughput, as a part of the best; the median of all.
        failures: why a configuration could not be loaded, by its index.
    """

    candidates: tuple[Times | None, ...]
    baseline: Times | None
    control: float
    spread: float
    failures: dict[int, str]


@dataclass(frozen=True)
class Runner:
    """One thing to be timed.

    Attributes:
        once: one row through the graph.
        busy: one callable an instance; each call does everything that some requests of one row need.
        rows: how many requests those are.
    """

    once: Call
    busy: Sequence[Call]
    rows: int = 1


def measure(
    subject: Subject,
    case: Case,
    configs: Sequence[tuple[Engine, EngineConfig]],
    baseline: Baseline | None,
    budget_s: float,
    tick: Callable[[], object],
) -> Measured:
    """Times everything, taking turns.

    Args:
        subject: the candidate, and the raw samples with which the throughput includes the processing.
        case: one row of it is the input.
        configs: what to time.
        baseline: the original.
        budget_s: about how long it may take, seconds.
        tick: called about ten times, to show progress.
    """
    runners: dict[str, Runner] = {}
    failures: dict[int, str] = {}
    for index, (engine, config) in enumerate(configs):
        try:
            runners[str(index)] = _candidate(subject, case, engine.load(subject.candidate.path, config))
        except PortsideError as e:
            failures[index] = e.message
    if baseline is not None:
        runners[_BASELINE] = _original(subject, case, baseline)
    if not runners:
        return Measured((None,) * len(configs), None, 1.0, 0.0, failures)
    once = {label: runner.once for label, runner in runners.items()}
    once[_CONTROL] = next(iter(once.values()))
    timings = interleave(once, budget_s * _LATENCY_PART, subject.seed, tick)
    rates = _rates(runners, budget_s * (1 - _LATENCY_PART), subject.seed, tick)
    times = {
        label: Times(timings[label].median_s, timings[label].p95_s, float(np.median(rates[label]))) for label in runners
    }
    return Measured(
        candidates=tuple(times.get(str(index)) for index in range(len(configs))),
        baseline=times.get(_BASELINE),
        control=timings[next(iter(runners))].median_s / timings[_CONTROL].median_s,
        spread=float(np.median([(max(turns) - min(turns)) / max(turns) for turns in rates.values()])),
        failures=failures,
    )


def one_row(case: Case, stage: Stage) -> Case:
    """The first row of a case; the whole of it for a model without a batch axis."""
    batch = stage.signature.batch_dim
    if batch is None:
        return case
    rows = {s.name for s in stage.signature.inputs if s.shape[:1] == (batch,)}
    inputs = {n: np.ascontiguousarray(a[:1]) if n in rows else a for n, a in case.inputs.items()}
    return msgspec.structs.replace(case, inputs=inputs, pixels=None if case.pixels is None else case.pixels[:1])


def typical_case(cases: Sequence[Case]) -> Case:
    """The case to time with: a real one if there is any."""
    return min(cases, key=lambda case: list(CaseKind).index(case.kind))


def _candidate(subject: Subject, case: Case, sessions: Sequence[Session]) -> Runner:
    stage = subject.candidate
    inputs = feed(one_row(case, stage), stage)
    first = sessions[0]
    # A candidate that cannot answer has to be found out here, not in the middle of a measurement.
    first.run(inputs)
    return Runner(
        once=lambda: first.run(inputs),
        busy=[_busy(subject, session, inputs, offset) for offset, session in enumerate(sessions)],
        rows=_round_rows(subject),
    )


def _busy(subject: Subject, session: Session, inputs: Mapping[str, Array], offset: int) -> Call:
    """Everything between picture files and the outputs, if there are picture files; else the graph alone."""
    image = subject.candidate.processing.image
    if image is None or not subject.raw:
        return lambda: session.run(inputs)
    files = _from(subject.raw, offset)

    def all_of_them() -> None:
        for file in files:
            session.run({image.input: tensor([file], image)})

    return all_of_them


def _original(subject: Subject, case: Case, baseline: Baseline) -> Runner:
    """The original, fed the way it is usually fed: everything decoded in full and normalised outside."""
    stage = subject.converted
    inputs = one_row(case, stage).inputs
    image = stage.processing.image
    run = baseline.run
    if image is None or not subject.raw:
        return Runner(lambda: run(inputs), [lambda: run(inputs)])

    def all_of_them() -> None:
        for file in subject.raw:
            run({image.input: normalise(decode(file, image, exact=True)[np.newaxis], image)})

    return Runner(lambda: run(inputs), [all_of_them], len(subject.raw))


def _round_rows(subject: Subject) -> int:
    """Rows of one busy call: pictures cost different amounts of work, so that only whole rounds can be compared."""
    return len(subject.raw) if subject.candidate.processing.image is not None and subject.raw else 1


def _from(raw: Sequence[bytes], offset: int) -> Sequence[bytes]:
    """The files in another order, so that instances do not all work on the same one."""
    return [*raw[offset % len(raw) :], *raw[: offset % len(raw)]]


def _rates(
    runners: Mapping[str, Runner], budget_s: float, seed: int, tick: Callable[[], object]
) -> dict[str, list[float]]:
    """Rows a second with all instances busy, one number a turn; the turns of a round come in random order."""
    rng = np.random.default_rng(seed)
    labels = list(runners)
    turn_s = max(_SHORTEST_S, budget_s / (_ROUNDS * len(labels)))
    found: dict[str, list[float]] = {label: [] for label in labels}
    for _ in range(_ROUNDS):
        for index in rng.permutation(len(labels)):
            label = labels[index]
            found[label].append(throughput(runners[label].busy, turn_s) * runners[label].rows)
        tick()
    return found
