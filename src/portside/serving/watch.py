"""Looks at the repository without ever blocking the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TypeAlias

from portside.errors import PortsideError, RepositoryFailed
from portside.repository.base import ModelState, Repository
from portside.serving.loading import in_thread

log = logging.getLogger(__name__)

Look: TypeAlias = Mapping[str, ModelState | PortsideError]
"""What one look saw: a model's state, or why it cannot be told."""


class Watch:
    """Reads a repository again and again. Used from the event loop's thread only.

    Args:
        repository: what to look at; its methods run on a thread of their own.
        only: names of interest; empty for all.
        timeout_s: a look that takes longer is not waited for, seconds.
    """

    def __init__(self, repository: Repository, only: frozenset[str], timeout_s: float) -> None:
        self._repository = repository
        self._only = only
        self._timeout_s = timeout_s
        self._reading: asyncio.Future[Look] | None = None
        self._failing = False

    async def look(self, known: frozenset[str]) -> Look | None:
        """Reads once. A read that hangs is left alone, and no second one is started beside it.

        Args:
            known: models to ask for although the repository may not list them any more.

        Returns:
            ``None`` if the repository cannot be read at present (said once in the log).
        """
        reading = self._reading
        if reading is None:
            reading = self._reading = in_thread(lambda: read(self._repository, self._only, known), "repository")
        done, _ = await asyncio.wait({reading}, timeout=self._timeout_s)
        if not done:
            self._unreadable(RepositoryFailed(f"no answer within {self._timeout_s:g} s"))
            return None
        if self._reading is reading:
            self._reading = None
        try:
            states = reading.result()
        except Exception as e:  # noqa: BLE001 -- an unreadable repository must not stop the watch
            self._unreadable(e)
            return None
        if self._failing:
            log.info("the repository can be read again")
        self._failing = False
        return states

    def _unreadable(self, why: Exception) -> None:
        if not self._failing:
            detail = why.detail if isinstance(why, PortsideError) else repr(why)
            log.error(
                "the repository cannot be read (%s): what is loaded goes on answering", why, extra={"detail": detail}
            )
        self._failing = True


def read(repository: Repository, only: frozenset[str], known: frozenset[str]) -> Look:
    """One look at a repository. Blocks.

    Raises:
        RepositoryFailed: the repository as a whole cannot be read.
    """
    found = frozenset(repository.models())
    return {name: _state(repository, name) for name in sorted(known | (found & only if only else found))}


def _state(repository: Repository, name: str) -> ModelState | PortsideError:
    try:
        return repository.state(name)
    except PortsideError as e:
        return e
