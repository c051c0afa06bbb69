"""What all connections of one listening address share: the set of them, the coarse clock, the ready reply heads."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

from portside.observe.ports import Meter
from portside.protocol.base import HttpReply, HttpRequest
from portside.server.options import ListenerOptions
from portside.server.wire import Heads

Handler: TypeAlias = Callable[[HttpRequest], Coroutine[Any, Any, HttpReply]]
"""Answers one request. It never raises; it may be started without a task (see ``eager``)."""

_log = logging.getLogger("portside.server")


class Connection(Protocol):
    """What a listener does with a connection."""

    def look_after(self, now: float) -> None:
        """Closes or cuts the connection if its peer has used up our patience. Called once a tick."""

    def finish(self) -> None:
        """Closes once the requests that have arrived are answered; at once if there are none."""

    def abort(self) -> None:
        """Cuts the connection and cancels what it was doing."""


class Listener:
    """Shared by the connections of one server; used from the event loop's thread only.

    Attributes:
        now: coarse monotonic clock, seconds; moves once a tick.
        draining: whether replies must end their connections.
    """

    __slots__ = ("_clock", "_empty", "_timer", "connections", "draining", "handle", "heads", "loop", "meter", "now",
                 "options", "wall")  # fmt: skip

    def __init__(
        self,
        handle: Handler,
        meter: Meter,
        options: ListenerOptions,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.handle = handle
        self.meter = meter
        self.options = options
        self.heads = Heads()
        self.connections: set[Connection] = set()
        self.draining = False
        self.now = clock()
        self.wall = wall
        self.loop: asyncio.AbstractEventLoop
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the clock. Connections may be made after this."""
        self.loop = loop
        self._tick()

    def stop(self) -> None:
        """Stops the clock and cuts what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in tuple(self.connections):
            connection.abort()

    def look_around(self) -> None:
        """Moves the coarse clock and looks after every connection."""
        self.now = now = self._clock()
        self.heads.set_time(self.wall())
        for connection in tuple(self.connections):
            try:
                connection.look_after(now)
            except Exception:  # noqa: BLE001 -- one connection's trouble must not stop the clock for all
                _log.exception("a connection could not be looked after; cutting it")
                connection.abort()

    def left(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if self._empty is not None and not self.connections:
            self._empty.set()

    async def drain(self, timeout_s: float) -> int:
        """Lets every connection finish what has arrived, for ``timeout_s`` seconds at most.

        Returns:
            how many connections were cut because they had not finished.
        """
        self.draining = True
        self._empty = asyncio.Event()
        for connection in tuple(self.connections):
            connection.finish()
        if self.connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), timeout_s)
        left = tuple(self.connections)
        for connection in left:
            connection.abort()
        return len(left)

    def _tick(self) -> None:
        self.look_around()
        self._timer = self.loop.call_later(self.options.tick_s, self._tick)
