from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from portside.verify.latency import interleave, throughput


def test_every_runner_is_timed_in_turns() -> None:
    order: list[str] = []
    rounds: list[int] = []
    runners = {name: (lambda name=name: order.append(name)) for name in ("a", "b", "c")}
    timings = interleave(runners, 0.03, seed=1, after_round=lambda: rounds.append(len(order)))
    assert set(timings) == {"a", "b", "c"}
    assert len(rounds) >= 3
    assert all(timing.calls > 0 and 0 < timing.median_s <= timing.p95_s for timing in timings.values())
    # every runner was called between one round and the next
    for start, stop in pairwise(rounds):
        assert set(order[start:stop]) == {"a", "b", "c"}


def test_a_runner_slower_than_the_whole_budget_is_called_a_few_times() -> None:
    gate = threading.Event()
    calls = Counter[str]()

    def slow() -> None:
        calls["slow"] += 1
        gate.wait(0.02)

    timings = interleave({"slow": slow}, 0.001)
    assert 3 <= timings["slow"].calls <= calls["slow"] <= 12


def test_what_a_runner_raises_comes_out() -> None:
    with pytest.raises(ZeroDivisionError):
        interleave({"broken": lambda: 1 // 0}, 0.01)


class Once:
    """Calls something the first time only."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def __call__(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


def test_workers_run_at_the_same_time() -> None:
    together = threading.Barrier(3)
    met: list[int] = []

    def meet() -> None:
        """The first call of each waits for the others: with workers one after another it would never end."""
        met.append(together.wait(60))

    rate = throughput([Once(meet) for _ in range(3)], 0.02)
    assert sorted(met) == [0, 1, 2]
    assert rate > 0


def test_each_worker_keeps_to_its_thread() -> None:
    seen: dict[int, set[int]] = {0: set(), 1: set()}
    throughput([lambda i=i: seen[i].add(threading.get_ident()) for i in range(2)], 0.02)
    assert [len(threads) for threads in seen.values()] == [1, 1]
    assert not seen[0] & seen[1]


def test_what_a_worker_raises_comes_out_and_nobody_waits() -> None:
    def broken() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        throughput([lambda: None, broken], 0.05)
