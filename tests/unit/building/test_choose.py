from __future__ import annotations

import pytest

from portside.building.choose import choose, explain
from portside.model.config import Goal
from portside.model.evidence import Measurement, Verdict

PASS, FAIL, UNSURE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def row(
    latency_ms: float, rate: float, verdict: Verdict | None = PASS, threads: int = 1, instances: int = 1
) -> Measurement:
    return Measurement("", "", "fp32", threads, instances, latency_ms, latency_ms, rate, 1.0, verdict=verdict)


@pytest.mark.parametrize(
    ("rows", "latency", "throughput"),
    [
        ([row(5, 100), row(3, 200)], 1, 1),
        ([row(3, 100), row(5, 200)], 0, 1),
        # a gate that failed, a baseline, and a row that could not be timed are never chosen
        ([row(5, 100), row(1, 900, FAIL), row(1, 900, None), row(0, 0)], 0, 0),
        # what decides nothing is chosen only where nothing passes
        ([row(5, 100), row(1, 900, UNSURE)], 0, 0),
        ([row(5, 100, UNSURE), row(3, 200, UNSURE), row(1, 900, FAIL)], 1, 1),
        # within the noise: fewer threads, then more rows a second, then the first
        ([row(3.00, 100, threads=2), row(3.05, 90, threads=1)], 1, 0),
        ([row(3.00, 100), row(3.05, 190)], 1, 1),
        ([row(3, 100), row(3, 100)], 0, 0),
        ([row(3.0, 100, threads=4), row(3.5, 100, threads=1)], 0, 0),
        # for throughput within the noise: more instances, then lower latency, then fewer threads
        ([row(3, 102, threads=2), row(5, 100, instances=2)], 0, 1),
        ([row(5, 102), row(3, 100)], 1, 1),
        ([row(3, 102, threads=2), row(3, 100, threads=1)], 1, 1),
        ([], None, None),
        ([row(1, 1, FAIL), row(1, 1, None)], None, None),
    ],
)
def test_choice(rows: list[Measurement], latency: int | None, throughput: int | None) -> None:
    assert choose(rows, Goal.LATENCY, 0.03) == latency
    assert choose(rows, Goal.THROUGHPUT, 0.03) == throughput


def test_the_noise_decides_what_is_a_tie() -> None:
    rows = [row(3.0, 100, threads=2), row(3.3, 100, threads=1)]
    assert choose(rows, Goal.LATENCY, 0.03) == 0
    assert choose(rows, Goal.LATENCY, 0.15) == 1


def test_losers_say_why_they_lost() -> None:
    rows = [row(9, 9, None), row(2, 100), row(3, 400), row(2.02, 99), row(1, 1, UNSURE)]
    said = explain(rows, 1, Goal.LATENCY, 0.03)
    assert [r.chosen for r in said] == [False, True, False, False, False]
    assert [r.reason for r in said] == [
        "", "", "takes 1.50 times as long", "as fast (within 3%), no fewer threads", "the gate says inconclusive",
    ]  # fmt: skip
    said = explain(rows, 2, Goal.THROUGHPUT, 0.03)
    assert said[1].reason == "0.25 of the rows/s"


def test_a_reason_that_is_there_is_kept() -> None:
    failed = Measurement("", "", "bf16", 1, 1, 1.0, 1.0, 1.0, 1.0, verdict=FAIL, reason="off by 9")
    assert explain([failed, row(2, 100)], 1, Goal.LATENCY, 0.03)[0].reason == "off by 9"


def test_without_a_choice_nothing_is_marked() -> None:
    rows = [row(1, 1, FAIL)]
    assert explain(rows, None, Goal.LATENCY, 0.03) == rows
