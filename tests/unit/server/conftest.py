"""A transport without sockets, a clock that is told the time, a handler that waits when it is asked to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from portside.observe.prometheus import PrometheusMeter
from portside.protocol.base import TEXT, HttpReply, HttpRequest
from portside.server.http import HttpConnection
from portside.server.listener import Listener
from portside.server.options import ListenerOptions


class FakeTransport(asyncio.Transport):
    """Keeps what was written. Closing tells the protocol at once unless ``buffered`` says that bytes are left."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.buffered = 0
        self.closed = self.aborted = self.said_eof = self.reading_paused = False
        self.protocol: HttpConnection | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "written after the end"
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True
        if self.buffered == 0:
            self._lose()

    def abort(self) -> None:
        self.closed = self.aborted = True
        self._lose()

    def _lose(self) -> None:
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connection_lost(None)

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.said_eof = True

    def pause_reading(self) -> None:
        self.reading_paused = True

    def resume_reading(self) -> None:
        self.reading_paused = False

    def get_write_buffer_size(self) -> int:
        return self.buffered


class Peer:
    """The client's side of one connection to a real protocol object."""

    def __init__(self, listener: Listener) -> None:
        self.transport = FakeTransport()
        self.protocol = self.transport.protocol = HttpConnection(listener)
        self.protocol.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def take(self) -> bytes:
        """What was written since the last look."""
        taken, self.transport.written = self.transport.written, b""
        return taken


class Desk:
    """A handler that answers at once with what it was asked, or waits until it is told to go on."""

    def __init__(self) -> None:
        self.seen: list[HttpRequest] = []
        self.gates: dict[str, asyncio.Future[HttpReply]] = {}
        self.cancelled: list[str] = []
        self.big = 0

    async def handle(self, request: HttpRequest) -> HttpReply:
        self.seen.append(request)
        if request.path == "/boom":
            raise RuntimeError("a bug")
        if request.path.startswith("/wait"):
            gate = self.gates[request.path] = asyncio.get_running_loop().create_future()
            try:
                return await gate
            except asyncio.CancelledError:
                self.cancelled.append(request.path)
                raise
        body = b"x" * self.big if request.path == "/big" else bytes(request.body) or request.path.encode()
        return HttpReply(200, body, TEXT)


@pytest.fixture
async def desk() -> Desk:
    return Desk()


@pytest.fixture
async def start(desk: Desk) -> Any:
    """Makes a listener: ``start(**options)`` gives ``connect``, ``at`` (moves the clock), ``listener``, ``meter``."""
    made: list[Listener] = []

    def go(handle: Callable[[HttpRequest], Coroutine[Any, Any, HttpReply]] | None = None, **options: Any) -> Any:
        time = SimpleNamespace(now=1000.0)
        meter = PrometheusMeter("0")
        given = ListenerOptions(tick_s=3600.0, **options)
        listener = Listener(handle or desk.handle, meter, given, lambda: time.now, lambda: 0.0)
        listener.start(asyncio.get_running_loop())
        made.append(listener)

        def at(now: float) -> None:
            time.now = 1000.0 + now
            listener.look_around()

        return SimpleNamespace(listener=listener, meter=meter, at=at, connect=lambda: Peer(listener))

    yield go
    for listener in made:
        listener.stop()
    await asyncio.sleep(0)
