"""Listeners that do not listen."""

from __future__ import annotations


class NullServableMeter:
    """Counts nothing."""

    def request(self, protocol: str, error_code: str, duration_s: float) -> None:
        """Does nothing."""

    def executed(self, rows: int, queue_s: float, compute_s: float) -> None:
        """Does nothing."""


class NullMeter:
    """Counts nothing."""

    def servable(self, model: str, version: int) -> NullServableMeter:
        """A meter that counts nothing."""
        return NullServableMeter()

    def forget(self, model: str, version: int) -> None:
        """Does nothing."""

    def failure(self, protocol: str, error_code: str) -> None:
        """Does nothing."""

    def loaded(self, model: str, version: int, load_s: float) -> None:
        """Does nothing."""

    def pending(self, change: int) -> None:
        """Does nothing."""

    def scrape(self) -> bytes:
        """Nothing."""
        return b""


class NullProgress:
    """Shows nothing."""

    def start(self, step: str, total: int | None = None) -> None:
        """Does nothing."""

    def advance(self, done: int = 1, note: str = "") -> None:
        """Does nothing."""

    def finish(self, note: str = "") -> None:
        """Does nothing."""
