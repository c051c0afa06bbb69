"""Plain counts for one version of a model: cheap to add to, read only when somebody asks."""

from __future__ import annotations

from bisect import bisect_left

SECONDS = (
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the histograms' buckets, seconds."""


class Histogram:
    """How often which duration; the last bucket is unbounded. One thread only.

    Attributes:
        buckets: counts, not cumulated, one more than there are bounds.
        total_s: sum of all durations.
    """

    __slots__ = ("buckets", "total_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(SECONDS) + 1)
        self.total_s = 0.0

    @property
    def count(self) -> int:
        """How many."""
        return sum(self.buckets)

    def cumulated(self) -> list[tuple[str, float]]:
        """Buckets as Prometheus wants them: upper bound and how many are not above it."""
        rows, below = [], 0
        for bound, count in zip((*map(repr, SECONDS), "+Inf"), self.buckets, strict=True):
            below += count
            rows.append((bound, float(below)))
        return rows


class ServableCounts:
    """Implements :class:`portside.observe.ports.ServableMeter`.

    Attributes:
        requests: durations by protocol and error code (empty for success).
        queue: time that executions waited.
        compute: time that executions ran.
        rows: rows executed.
        unloaded: whether the version is gone; its counts stay for one more look.
    """

    __slots__ = ("compute", "queue", "requests", "rows", "unloaded")

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str], Histogram] = {}
        self.queue = Histogram()
        self.compute = Histogram()
        self.rows = 0
        self.unloaded = False

    def request(self, protocol: str, error_code: str, duration_s: float) -> None:
        """See the port."""
        durations = self.requests.get((protocol, error_code))
        if durations is None:
            durations = self.requests[protocol, error_code] = Histogram()
        durations.buckets[bisect_left(SECONDS, duration_s)] += 1
        durations.total_s += duration_s

    def executed(self, rows: int, queue_s: float, compute_s: float) -> None:
        """See the port."""
        self.rows += rows
        queue, compute = self.queue, self.compute
        queue.buckets[bisect_left(SECONDS, queue_s)] += 1
        queue.total_s += queue_s
        compute.buckets[bisect_left(SECONDS, compute_s)] += 1
        compute.total_s += compute_s
