"""The rows of the tuner's table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from portside.building.candidates import Way
from portside.building.measure import Baseline, Times
from portside.model.config import EngineConfig, EngineName, Precision
from portside.model.evidence import CaseKind, Evidence, Measurement, Verdict

_NAMES = {EngineName.ONNXRUNTIME: "ONNX Runtime", EngineName.OPENVINO: "OpenVINO"}


def row(config: EngineConfig, evidence: Evidence, times: Times | None) -> Measurement:
    """A configuration's row; its speed-up is filled in by :func:`with_speedup`.

    Args:
        config: what was run.
        evidence: what the gate says about it.
        times: what was measured; ``None`` if that was not possible.
    """
    took = times or Times(0.0, 0.0, 0.0)
    real = [output for output in evidence.outputs if output.kind is CaseKind.REAL] or list(evidence.outputs)
    ranked = [output.top1 for output in real if output.top1 is not None]
    return Measurement(
        label=label_of(way_of(config)),
        engine=config.engine.value,
        precision=config.precision.value,
        threads=config.threads,
        instances=config.instances,
        latency_ms=took.latency_s * 1e3,
        p95_ms=took.p95_s * 1e3,
        throughput_rps=took.rows_per_s,
        speedup=0.0,
        top1=min(ranked) if ranked else None,
        max_abs=max((output.max_abs for output in real), default=None),
        verdict=evidence.verdict,
        reason=evidence.reasons[0] if evidence.reasons and evidence.verdict is Verdict.FAIL else "",
    )


def baseline_row(baseline: Baseline, times: Times) -> Measurement:
    """The original framework's row."""
    return Measurement(
        label=baseline.label,
        engine=baseline.label.partition(" ")[0].lower(),
        precision=Precision.FP32.value,
        threads=baseline.threads,
        instances=1,
        latency_ms=times.latency_s * 1e3,
        p95_ms=times.p95_s * 1e3,
        throughput_rps=times.rows_per_s,
        speedup=1.0,
    )


def with_speedup(rows: Sequence[Measurement], baseline: Times | None) -> Iterator[Measurement]:
    """The rows with their speed-up over the baseline, or over the first of them that was timed."""
    base_ms = baseline.latency_s * 1e3 if baseline else next((r.latency_ms for r in rows if r.latency_ms > 0), 0.0)
    for each in rows:
        speedup = base_ms / each.latency_ms if each.latency_ms > 0 else 0.0
        yield msgspec.structs.replace(each, speedup=speedup)


def way_of(config: EngineConfig) -> Way:
    """The engine and precision of a configuration."""
    return Way(config.engine, config.precision)


def label_of(way: Way) -> str:
    """An engine and precision for a person."""
    return f"{_NAMES[way.engine]} {way.precision.value}"
