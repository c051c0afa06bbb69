"""Counts for Prometheus. The counting is plain arithmetic (``counts``); metric families are made when it is scraped.

Nothing here touches the process-wide registry of the client library, so several servers may live in one process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from portside.observe.counts import Histogram, ServableCounts

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
"""The Prometheus text form's media type."""

_OK = "OK"
_VERSION = ("model", "version")


class PrometheusMeter:
    """Implements :class:`portside.observe.ports.Meter`. One thread only, the event loop's.

    Args:
        version: of Portside, shown as ``portside_build_info``.
    """

    def __init__(self, version: str) -> None:
        self._version = version
        self._servables: dict[tuple[str, str], ServableCounts] = {}
        self._failures: dict[tuple[str, str], int] = {}
        self._loads: dict[tuple[str, str], tuple[int, float]] = {}
        self._inflight = 0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Families(self))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def servable(self, model: str, version: int) -> ServableCounts:
        """The counts of one version; those of a version that comes back go on where they were."""
        counts = self._servables.setdefault((model, str(version)), ServableCounts())
        counts.unloaded = False
        return counts

    def forget(self, model: str, version: int) -> None:
        """See the port."""
        counts = self._servables.get((model, str(version)))
        if counts is not None:
            counts.unloaded = True

    def failure(self, protocol: str, error_code: str) -> None:
        """See the port."""
        key = (protocol, error_code)
        self._failures[key] = self._failures.get(key, 0) + 1

    def loaded(self, model: str, version: int, load_s: float) -> None:
        """See the port."""
        key = (model, str(version))
        count, total_s = self._loads.get(key, (0, 0.0))
        self._loads[key] = (count + 1, total_s + load_s)

    def pending(self, change: int) -> None:
        """See the port."""
        self._inflight += change

    def scrape(self) -> bytes:
        """See the port. Versions that were unloaded are shown once more and then dropped."""
        text = generate_latest(self._registry)
        for key in [k for k, c in self._servables.items() if c.unloaded]:
            del self._servables[key]
            self._loads.pop(key, None)
        return text

    def families(self) -> Iterator[Metric]:
        """Everything counted, as the client library's values."""
        yield from self._requests()
        yield from self._executions()
        yield from self._lives()

    def _requests(self) -> Iterator[Metric]:
        labels = ("model", "version", "protocol", "code")
        total = CounterMetricFamily("portside_requests", "Requests answered, by outcome.", labels=labels)
        duration = HistogramMetricFamily(
            "portside_request_duration_seconds", "Time from a whole request to its answer.", labels=labels
        )
        for key, counts in self._servables.items():
            for (protocol, code), durations in counts.requests.items():
                values = (*key, protocol, code or _OK)
                total.add_metric(values, durations.count)
                duration.add_metric(values, durations.cumulated(), durations.total_s)
        yield total
        yield duration
        failures = CounterMetricFamily(
            "portside_request_failures", "Requests that failed before a version was known.", labels=("protocol", "code")
        )
        for pair, count in self._failures.items():
            failures.add_metric(pair, count)
        yield failures
        yield GaugeMetricFamily("portside_inflight_requests", "Requests that wait or run.", value=self._inflight)

    def _executions(self) -> Iterator[Metric]:
        shown = self._servables.items()
        yield _histogram(
            "portside_queue_duration_seconds", "Time that executions waited for their turn.",
            ((key, counts.queue) for key, counts in shown),
        )  # fmt: skip
        yield _histogram(
            "portside_compute_duration_seconds", "Time that executions ran, processing included.",
            ((key, counts.compute) for key, counts in shown),
        )  # fmt: skip
        rows = CounterMetricFamily("portside_rows", "Rows executed.", labels=_VERSION)
        for key, counts in shown:
            rows.add_metric(key, counts.rows)
        yield rows

    def _lives(self) -> Iterator[Metric]:
        loads = CounterMetricFamily("portside_model_loads", "Times a version became ready.", labels=_VERSION)
        load_s = CounterMetricFamily(
            "portside_model_load_seconds", "Time from finding versions to having them ready.", labels=_VERSION
        )
        for key, (count, total_s) in self._loads.items():
            loads.add_metric(key, count)
            load_s.add_metric(key, total_s)
        yield loads
        yield load_s
        loaded = GaugeMetricFamily("portside_model_loaded", "1 for every version that is loaded.", labels=_VERSION)
        for key, counts in self._servables.items():
            if not counts.unloaded:
                loaded.add_metric(key, 1)
        yield loaded
        build = InfoMetricFamily("portside_build", "The Portside that runs here.")
        build.add_metric((), {"version": self._version})
        yield build


class _Families(Collector):
    """What the registry asks."""

    def __init__(self, meter: PrometheusMeter) -> None:
        self._meter = meter

    def collect(self) -> Iterable[Metric]:
        return self._meter.families()


def _histogram(name: str, text: str, rows: Iterable[tuple[tuple[str, str], Histogram]]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=_VERSION)
    for key, histogram in rows:
        family.add_metric(key, histogram.cumulated(), histogram.total_s)
    return family
