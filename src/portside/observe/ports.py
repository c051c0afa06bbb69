"""Ports for counting, and for showing progress. Code above and below them never learns who listens."""

from __future__ import annotations

from typing import Protocol


class ServableMeter(Protocol):
    """Counts for one version of one model. Created once when it is loaded; its methods are called on the hot path.

    Called from the event loop's thread only; must not block.
    """

    def request(self, protocol: str, error_code: str, duration_s: float) -> None:
        """One request ended. ``error_code`` is empty for success, else the value of an ErrorCode."""

    def executed(self, rows: int, queue_s: float, compute_s: float) -> None:
        """One execution of the graph ended: rows in it, time it waited, time it ran (processing included)."""


class Meter(Protocol):
    """Where counts go."""

    def servable(self, model: str, version: int) -> ServableMeter:
        """The counts of one version."""

    def forget(self, model: str, version: int) -> None:
        """The version was unloaded: its gauges go away (counters stay for the scraper to see once more)."""

    def failure(self, protocol: str, error_code: str) -> None:
        """A request failed before a version was known."""

    def loaded(self, model: str, version: int, load_s: float) -> None:
        """A version became ready, ``load_s`` seconds after it was found."""

    def pending(self, change: int) -> None:
        """That many more requests are in flight (negative: fewer)."""

    def scrape(self) -> bytes:
        """Everything in the Prometheus text form."""


class Progress(Protocol):
    """Shows a long work to a person. Steps come one after another, never nested."""

    def start(self, step: str, total: int | None = None) -> None:
        """A step begins; ``total`` units of work if that is known."""

    def advance(self, done: int = 1, note: str = "") -> None:
        """Units of the running step were done."""

    def finish(self, note: str = "") -> None:
        """The running step is over; ``note`` sums it up in a few words."""
