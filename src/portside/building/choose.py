"""Decides between measurements. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from portside.model.config import Goal
from portside.model.evidence import Measurement, Verdict

_BEST_FIRST = (Verdict.PASS, Verdict.INCONCLUSIVE)


def choose(measurements: Sequence[Measurement], goal: Goal, noise: float) -> int | None:
    """The index of the row to publish.

    Only rows that passed the gate count (rows that decide nothing, if none passed); rows without a verdict (the
    baseline), without a time or that failed never do. Rows that are no further apart than the noise are equally fast:
    for latency the fewest threads win, then the higher throughput; for throughput the most instances (they keep the
    cores busy where a request is more than its graph), then the lower latency.

    Args:
        measurements: the table.
        goal: what "fastest" means.
        noise: relative difference below which two times are equal (0.03: three per cent).

    Returns:
        an index into ``measurements``, or ``None`` if no row may be chosen.
    """
    eligible = _eligible(measurements)
    if not eligible:
        return None
    if goal is Goal.LATENCY:
        best = min(measurements[i].latency_ms for i in eligible)
        tied = [i for i in eligible if measurements[i].latency_ms <= best * (1 + noise)]
        return min(tied, key=lambda i: (_threads(measurements[i]), -measurements[i].throughput_rps, i))
    most = max(measurements[i].throughput_rps for i in eligible)
    tied = [i for i in eligible if measurements[i].throughput_rps * (1 + noise) >= most]
    return min(
        tied, key=lambda i: (-measurements[i].instances, measurements[i].latency_ms, _threads(measurements[i]), i)
    )


def explain(measurements: Sequence[Measurement], chosen: int | None, goal: Goal, noise: float) -> list[Measurement]:
    """The rows with the chosen one marked, and with the reason why each other one was not chosen."""
    if chosen is None:
        return list(measurements)
    winner = measurements[chosen]
    rows = []
    for index, row in enumerate(measurements):
        if index == chosen:
            rows.append(msgspec.structs.replace(row, chosen=True, reason=""))
        elif row.verdict is None or row.reason:
            rows.append(row)
        else:
            rows.append(msgspec.structs.replace(row, reason=_why_not(row, winner, goal, noise)))
    return rows


def _why_not(row: Measurement, winner: Measurement, goal: Goal, noise: float) -> str:
    if row.verdict is not winner.verdict:
        return f"the gate says {row.verdict.value if row.verdict else 'nothing'}"
    if goal is Goal.LATENCY:
        part = row.latency_ms / winner.latency_ms
        return (
            f"takes {part:.2f} times as long" if part > 1 + noise else f"as fast (within {noise:.0%}), no fewer threads"
        )
    part = row.throughput_rps / winner.throughput_rps
    return f"{part:.2f} of the rows/s" if part * (1 + noise) < 1 else f"as many rows/s (within {noise:.0%}), no faster"


def _eligible(measurements: Sequence[Measurement]) -> list[int]:
    for verdict in _BEST_FIRST:
        found = [i for i, row in enumerate(measurements) if row.verdict is verdict and row.latency_ms > 0]
        if found:
            return found
    return []


def _threads(row: Measurement) -> int:
    return row.threads * row.instances
