"""Times several ways of doing the same, taking turns, so that a machine that gets slower gets slower for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

_BLOCK_S = 0.05
_FEWEST_ROUNDS = 3
_MOST_CALLS = 5_000
_WARM_CALLS = 2
_FOREVER_S = 3600.0


class Timing(msgspec.Struct, frozen=True):
    """How long one call takes.

    Attributes:
        median_s: seconds.
        p95_s: 95th percentile, seconds.
        calls: how many were timed.
    """

    median_s: float
    p95_s: float
    calls: int


def interleave(
    runners: Mapping[str, Callable[[], object]],
    budget_s: float,
    seed: int = 0,
    after_round: Callable[[], object] | None = None,
) -> dict[str, Timing]:
    """Times all runners in blocks of calls, the blocks of each round in random order.

    Args:
        runners: what to call, by label.
        budget_s: about how long it may take, seconds; every runner is called at least a few times.
        seed: of the order.
        after_round: called after each round, to show progress.
    """
    rng = np.random.default_rng(seed)
    labels = list(runners)
    block = {label: _calls_in_a_block(runners[label], budget_s / max(1, len(labels))) for label in labels}
    spent: dict[str, list[float]] = {label: [] for label in labels}
    deadline = time.perf_counter() + budget_s
    rounds = 0
    while rounds < _FEWEST_ROUNDS or time.perf_counter() < deadline:
        for index in rng.permutation(len(labels)):
            label = labels[index]
            _time_block(runners[label], block[label], spent[label])
        rounds += 1
        if after_round is not None:
            after_round()
    return {label: _timing(times) for label, times in spent.items()}


def throughput(workers: Sequence[Callable[[], object]], duration_s: float) -> float:
    """Calls a second when all workers call at the same time, each from a thread of its own.

    Args:
        workers: one callable a thread; it is called again and again.
        duration_s: how long, seconds. A call that has begun is finished and counted for its part.

    Raises:
        Exception: whatever a worker raised.
    """
    counts = [0.0] * len(workers)
    failures: list[BaseException] = []
    barrier = threading.Barrier(len(workers))

    def work(index: int, call: Callable[[], object]) -> None:
        try:
            call()
            barrier.wait(_FOREVER_S)
            start = now = time.perf_counter()
            calls = 0
            while now < start + duration_s:
                call()
                calls += 1
                now = time.perf_counter()
            counts[index] = calls / (now - start)
        except BaseException as e:  # noqa: BLE001 -- handed to the caller below
            failures.append(e)
            barrier.abort()

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in enumerate(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    real = [e for e in failures if not isinstance(e, threading.BrokenBarrierError)]
    if real:
        raise real[0]
    return sum(counts)


def _calls_in_a_block(call: Callable[[], object], share_s: float) -> int:
    """How many calls fill a block; warms the runner up."""
    for _ in range(_WARM_CALLS):
        start = time.perf_counter()
        call()
        took = max(time.perf_counter() - start, 1e-7)
    wanted = min(_BLOCK_S, share_s / _FEWEST_ROUNDS)
    return int(min(max(1.0, wanted / took), _MOST_CALLS))


def _time_block(call: Callable[[], object], count: int, spent: list[float]) -> None:
    # The first call of a block finds the caches as the runner before it left them.
    call()
    for _ in range(count):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)


def _timing(times: list[float]) -> Timing:
    return Timing(float(np.median(times)), float(np.percentile(times, 95)), len(times))
