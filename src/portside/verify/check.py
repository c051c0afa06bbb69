"""Compares a candidate with what the original framework answered, and says what that proves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from portside.engine.base import Engine, Session
from portside.engine.host import describe_host
from portside.errors import InvalidSettings, PortsideError
from portside.model.config import EngineConfig, EngineName, Precision
from portside.model.evidence import CaseKind, Evidence, OutputParity, SelfTest, Verdict
from portside.verify.answers import Answer, ask, compare, few, load_one
from portside.verify.blame import blame
from portside.verify.cases import Case
from portside.verify.contract import broken_between, broken_names, broken_shapes, failures
from portside.verify.gauge import Gauge, make_gauge
from portside.verify.sanity import Finding, batching, echo, repeatability, sensitivity
from portside.verify.selftest import self_test
from portside.verify.shipped import shipped_processing
from portside.verify.subject import Stage, Subject
from portside.verify.tolerance import Noise, too_noisy
from portside.verify.yardstick import Yardstick, yardstick

__all__ = ["Stage", "Subject", "check", "gate"]

_MOST_REASONS = 6
_UNTESTED = SelfTest(identity_passed=False, corruption_detected=False, corrupted="not reached")


def check(
    subject: Subject, cases: Sequence[Case], engines: Mapping[EngineName, Engine], config: EngineConfig
) -> Evidence:
    """Checks one way of running a candidate.

    Args:
        subject: what is checked.
        cases: with ``expected`` filled in by the original framework.
        engines: ``config.engine`` is the one under test; another one, if there is one, helps to measure the noise.
        config: how the candidate is run; its threads are those of the check too.

    Raises:
        InvalidSettings: there are no cases, or the engine is not among ``engines``.
        MissingExtra: ``onnx`` is not installed.
    """
    with yardstick(subject, cases, engines) as measure:
        return gate(measure, config)


def gate(measure: Yardstick, config: EngineConfig) -> Evidence:
    """Checks one way of running a candidate, with a yardstick that several checks share.

    Raises:
        InvalidSettings: the engine is not among the yardstick's.
    """
    engine = measure.engines.get(config.engine)
    if engine is None:
        known = ", ".join(name.value for name in measure.engines)
        raise InvalidSettings(f"the engine {config.engine.value!r} is not there to be checked: known are {known}")
    gauge = make_gauge(measure, config.precision)
    try:
        session = load_one(engine, measure.subject.candidate.path, config)
    except PortsideError as e:
        return _evidence(measure, config, (), _UNTESTED, [_load_failure(e)])
    return _checked(measure, config, session, gauge)


def _checked(measure: Yardstick, config: EngineConfig, session: Session, gauge: Gauge) -> Evidence:
    cases, stage = measure.cases, measure.subject.candidate
    signature = stage.signature
    first = ask(session, stage, cases)
    rows = gauge.rows(compare(cases, measure.golden, first, signature))
    some = few(cases)
    few_cases, few_first = [cases[i] for i in some], [first[i] for i in some]
    again = ask(session, stage, few_cases)
    tested = self_test(measure, gauge, config, few_first, again)
    findings = [
        _contract(measure, session, first),
        sensitivity(signature, first, measure.golden),
        echo(cases, first, measure.golden),
        repeatability(signature, few_cases, few_first, again, gauge.allowed),
        batching(session, stage, cases, first, gauge.allowed),
        shipped_processing(session, stage, measure.subject.raw),
    ]
    return _evidence(measure, config, rows, tested, findings)


def _contract(measure: Yardstick, session: Session, answers: Sequence[Answer]) -> Finding:
    """Names, types, shapes, and that every case can be run."""
    subject = measure.subject
    broken = [
        *broken_names(session, subject.candidate.signature),
        *broken_between(subject.converted, subject.candidate),
        *_unknown_outputs(measure),
        *broken_shapes(subject.candidate.signature, measure.cases, answers),
        *failures(measure.cases, answers),
    ]
    if broken:
        return Finding("contract", "; ".join(broken[:_MOST_REASONS]), Verdict.FAIL)
    batches = sorted({len(a) for case in measure.cases for a in case.inputs.values() if a.ndim})
    tried = f", tried with {', '.join(map(str, batches))} rows" if subject.candidate.signature.batch_dim else ""
    return Finding("contract", f"names, types and shapes are those of the original{tried}")


def _unknown_outputs(measure: Yardstick) -> Iterator[str]:
    """Outputs of the original that the signature does not have."""
    signature = {spec.name for spec in measure.subject.candidate.signature.outputs}
    lost = sorted({name for a in measure.golden for name in a.outputs} - signature)
    if lost:
        yield f"the original has the output '{lost[0]}', the candidate's signature does not"


def _load_failure(error: PortsideError) -> Finding:
    return Finding("contract", f"the candidate cannot be loaded: {error.message}", Verdict.FAIL)


def _evidence(
    measure: Yardstick,
    config: EngineConfig,
    rows: tuple[OutputParity, ...],
    tested: SelfTest,
    findings: Sequence[Finding],
) -> Evidence:
    failed = [f.sentence for f in findings if f.verdict is Verdict.FAIL] + [r.reason for r in rows if not r.passed]
    unsure = [f.sentence for f in findings if f.verdict is Verdict.INCONCLUSIVE] + list(_doubts(measure, rows, tested))
    source = blame(measure, config) if failed else ""
    reasons = [*failed[:_MOST_REASONS], *([source] if source else []), *(() if failed else unsure)]
    if len(failed) > _MOST_REASONS:
        reasons.append(f"and {len(failed) - _MOST_REASONS} more, see the report")
    verdict = Verdict.FAIL if failed else Verdict.INCONCLUSIVE if unsure else Verdict.PASS
    checks = {f.name: f.sentence for f in findings}
    checks["noise"] = _noise_line(measure)
    checks["conversion"] = _conversion_line(measure)
    return Evidence(
        verdict=verdict,
        reasons=tuple(reasons),
        subject=measure.subject.digest,
        config=str(config),
        outputs=rows,
        selftest=tested,
        host=describe_host(),
        seed=measure.subject.seed,
        real_rows=max((r.rows for r in rows if r.kind is CaseKind.REAL), default=0),
        checks=checks,
    )


def _doubts(measure: Yardstick, rows: Sequence[OutputParity], tested: SelfTest) -> Iterator[str]:
    """Why the numbers, although they pass, prove nothing; one sentence each."""
    if not any(case.expected is not None for case in measure.cases):
        yield "nobody asked the original network, only its converted graph: give the original framework"
    if not any(row.kind is CaseKind.REAL for row in rows):
        yield "only made-up inputs were compared: give real samples, for which the answers matter"
    noisy = [key for key, d in measure.reference.items() if too_noisy(d, measure.noise.get(key, Noise()))]
    if noisy:
        kind, name = noisy[0]
        yield (
            f"output '{name}' on {kind.value} inputs differs from itself by up to {measure.noise[noisy[0]].floor:.3g} "
            "when nothing but threads, rows' order or engine change: too much to find a fault in it"
        )
    if not tested.identity_passed:
        yield "the verifier's test of itself failed: the candidate does not pass against itself"
    if not tested.corruption_detected:
        yield (
            f"the verifier's test of itself failed: a spoiled copy ({tested.corrupted}) was not told from the "
            "candidate; give samples that exercise the network"
        )


def _noise_line(measure: Yardstick) -> str:
    largest = max((n.floor for n in measure.noise.values()), default=0.0)
    return f"the converted graph differs from itself by up to {largest:.2g} ({measure.noise_from})"


def _conversion_line(measure: Yardstick) -> str:
    apart = compare(measure.cases, measure.golden, measure.converted, measure.subject.converted.signature)
    if not apart:
        return "the converted graph cannot be run"
    passed = make_gauge(measure, Precision.FP32).passes(apart)
    largest = max(d.max_abs for d in apart.values())
    return (
        f"original -> converted graph: largest difference {largest:.2g}, {'within' if passed else 'beyond'} the limit"
    )
