"""Which stage of the line broke the answers: conversion, graph passes, or the engine with its precision."""

from __future__ import annotations

from collections.abc import Sequence

from portside.errors import PortsideError
from portside.model.config import EngineConfig, Precision
from portside.verify.answers import Answer, ask, compare, load_one
from portside.verify.contract import failures
from portside.verify.gauge import Gauge, make_gauge
from portside.verify.yardstick import Yardstick


def blame(measure: Yardstick, config: EngineConfig) -> str:
    """The first stage that is not right, judged as exact arithmetic (one sentence)."""
    gauge = make_gauge(measure, Precision.FP32)
    reason = _wrong(measure, gauge, measure.converted)
    if reason:
        return f"the conversion broke it, before any optimisation: {reason}"
    exact = measure.reference_config
    candidate = measure.subject.candidate
    try:
        session = load_one(measure.engines[exact.engine], candidate.path, exact)
    except PortsideError as e:
        return f"the graph passes broke it, the converted graph is right: {e.message}"
    reason = _wrong(measure, gauge, ask(session, candidate, measure.cases))
    if reason:
        return f"the graph passes broke it, the converted graph is right: {reason}"
    if (config.engine, config.precision) == (exact.engine, exact.precision):
        return f"the graph is right with one thread, but not as {config}"
    return (
        f"the graph is right on {exact.engine.value} {exact.precision.value}; "
        f"{config.engine.value} {config.precision.value} is what moves the answers"
    )


def _wrong(measure: Yardstick, gauge: Gauge, answers: Sequence[Answer]) -> str:
    """What is wrong with some answers, or empty."""
    failed = failures(measure.cases, answers)
    if failed:
        return failed[0]
    found = compare(measure.cases, measure.golden, answers, measure.subject.converted.signature)
    return next((row.reason for row in gauge.rows(found) if not row.passed), "")
