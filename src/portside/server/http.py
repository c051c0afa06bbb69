"""One HTTP/1.1 connection: bytes to the reader, requests to the handler, replies out in order.

Everything runs in the event loop's thread. A request that is answered without waiting never becomes a task. While one
waits, later requests of the same connection queue up behind it, and when too many do, the socket is left alone until
they are done. How long a peer is waited for is decided in ``patience``.
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from portside.errors import DeadlineExceeded, PortsideError, Unavailable
from portside.protocol.base import HttpReply, HttpRequest
from portside.server.eager import continue_in_task
from portside.server.listener import Listener
from portside.server.patience import Look, Patience, Phase, judge
from portside.server.reader import CLOSE, KEEP, SLICE_BYTES, Refused, RequestReader
from portside.server.wire import CONTINUE, JOIN_BYTES, internal_error, refusal

_log = logging.getLogger("portside.server")


class HttpConnection(asyncio.Protocol):
    """The server's side of one connection."""

    __slots__ = ("_answering", "_deaf", "_handle", "_head", "_lingering", "_listener", "_mark", "_mark_at", "_moved_at",
                 "_paused", "_progress", "_reader", "_ready", "_refused", "_task", "_transport", "_unfed", "_unread",
                 "_write")  # fmt: skip

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._handle = listener.handle
        self._head = listener.heads.head
        self._reader = RequestReader(listener.options)
        self._ready = self._reader.ready
        self._transport: asyncio.Transport
        self._task: asyncio.Task[HttpReply] | None = None
        self._answering: tuple[HttpRequest, bytes] | None = None
        self._refused: tuple[PortsideError, int] | None = None
        self._unfed: memoryview | None = None
        self._deaf = False  # what still comes is thrown away
        self._lingering = False
        self._paused = False  # we do not read from the socket
        self._unread = False  # the peer does not read from its
        self._mark = (Phase.IDLE, 0)
        self._progress = (0, 0)
        self._mark_at = self._moved_at = listener.now

    # -- called by the transport ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admits the connection, or refuses it when there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self._write = self._transport.write
        listener = self._listener
        held, most = len(listener.connections), listener.options.connections
        listener.connections.add(self)
        if held >= most + most // 4:
            self.abort()
        elif held >= most or listener.draining:
            why = "is stopping" if listener.draining else f"holds its {most} connections: try again later"
            self._refuse(Unavailable(f"the server {why}"), 503)

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
        if self._deaf:
            return
        if self._unfed is not None or len(data) > SLICE_BYTES:
            rest = b"" if self._unfed is None else bytes(self._unfed)
            self._unfed = memoryview(rest + data if rest else data)
            self._go_on()
            return
        self._feed(data)
        if self._ready:
            self._answer_ready()
        if self._ready:
            self._throttle()

    def eof_received(self) -> None:
        """The peer has hung up (a half-closed connection is taken for that); the transport closes itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and with it whoever waited for an answer."""
        self._deaf = True
        self._unfed = None
        self._listener.left(self)
        if self._task is not None:
            self._task.cancel()
        self._reader.close()

    def pause_writing(self) -> None:
        """The peer does not take its answers: begin no further ones."""
        self._unread = True
        self._moved_at = self._listener.now

    def resume_writing(self) -> None:
        """It does again."""
        self._unread = False
        self._go_on()

    # -- called by the listener -----------------------------------------------------------------------------------

    def look_after(self, now: float) -> None:
        """See :class:`portside.server.listener.Connection`."""
        patience = judge(self._look(now), self._listener.options)
        if patience is Patience.CLOSE:
            self._end()
        elif patience is Patience.TIME_OUT:
            self._refuse(DeadlineExceeded("the request took too long to arrive; send it again, faster"), 408)
        elif patience is Patience.ABORT:
            self.abort()

    def finish(self) -> None:
        """See :class:`portside.server.listener.Connection`."""
        if self._task is None and not self._ready and self._reader.phase is Phase.IDLE and not self._deaf:
            self._end()

    def abort(self) -> None:
        """See :class:`portside.server.listener.Connection`."""
        self._deaf = True
        self._transport.abort()

    # -- requests in ----------------------------------------------------------------------------------------------

    def _feed(self, data: bytes | memoryview) -> None:
        reader = self._reader
        try:
            reader.feed(data)
        except Refused as e:
            self._refuse(e.error, e.status)
        if reader.wants_continue:
            self._continue()

    def _continue(self) -> None:
        """Asks for the body, once the answers before it are out."""
        if self._task is None and not self._ready and not self._deaf:
            self._reader.wants_continue = False
            self._write(CONTINUE)

    def _go_on(self) -> None:
        """Answers and reads as far as it goes now."""
        self._answer_ready()
        while self._unfed is not None and not self._deaf and len(self._ready) < self._listener.options.pipeline:
            piece, rest = self._unfed[:SLICE_BYTES], self._unfed[SLICE_BYTES:]
            self._unfed = rest if len(rest) else None
            self._feed(piece)
            self._answer_ready()
        if self._reader.wants_continue:
            self._continue()
        self._throttle()

    def _throttle(self) -> None:
        """Leaves the socket alone while there is enough to do."""
        full = self._unfed is not None or len(self._ready) >= self._listener.options.pipeline
        if full and not self._paused and not self._deaf:
            self._paused = True
            self._transport.pause_reading()
        elif self._paused and (self._deaf or not full):
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    # -- answers out ----------------------------------------------------------------------------------------------

    def _answer_ready(self) -> None:
        ready = self._ready
        while ready and self._task is None and not self._unread:
            request, connection = ready.popleft()
            coroutine = self._handle(request)
            try:
                waiting = coroutine.send(None)
            except StopIteration as done:
                self._reply(request, connection, done.value)
            except Exception:  # noqa: BLE001 -- the handler has promised not to; the peer gets an answer all the same
                _log.exception("the handler broke")
                self._reply(request, connection, internal_error())
            else:
                self._answering = (request, connection)
                self._task = continue_in_task(self._listener.loop, coroutine, waiting)
                self._task.add_done_callback(self._finished)
                self._listener.meter.pending(1)
        if self._refused is not None and not ready and self._task is None:
            self._say_goodbye(*self._refused)

    def _finished(self, task: asyncio.Task[HttpReply]) -> None:
        self._listener.meter.pending(-1)
        self._task = None
        answering, self._answering = self._answering, None
        if task.cancelled() or answering is None:
            self.abort()
            return
        error = task.exception()
        if error is not None:
            _log.error("the handler broke", exc_info=error)
        if not self._transport.is_closing():
            self._reply(*answering, internal_error() if error is not None else task.result())
            self._go_on()

    def _reply(self, request: HttpRequest, connection: bytes, reply: HttpReply) -> None:
        if self._listener.draining and not self._ready:
            connection = CLOSE
        body = reply.body
        if connection is KEEP and not reply.headers and len(body) <= JOIN_BYTES and request.method != "HEAD":
            self._write(b"%b%d\r\n\r\n%b" % (self._head(reply.status, reply.content_type), len(body), body))
            return
        self._write(self._listener.heads.render(reply, connection))
        if body and request.method != "HEAD":
            self._write(body)
        if connection is CLOSE:
            self._end()

    # -- endings --------------------------------------------------------------------------------------------------

    def _refuse(self, error: PortsideError, status: int) -> None:
        """Answers once what came before is answered; nothing more is read."""
        if self._refused is None:
            self._listener.meter.failure("http", error.code.value)
            self._refused = (error, status)
        self._deaf = True
        self._unfed = None
        self._answer_ready()

    def _say_goodbye(self, error: PortsideError, status: int) -> None:
        """Sends a refusal, then listens for the end: closing at once could make the peer lose the answer."""
        self._refused = None
        reply = refusal(error, status)
        self._write(self._listener.heads.render(reply, CLOSE) + reply.body)
        self._lingering = True
        self._throttle()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _end(self) -> None:
        self._deaf = True
        self._refused = None
        self._ready.clear()
        self._transport.close()

    def _look(self, now: float) -> Look:
        """What ``patience`` needs to know. Also notes the time of changes, which no request pays for."""
        reader = self._reader
        phase = Phase.LINGER if self._lingering else reader.phase
        mark, progress = (phase, reader.messages), (reader.received, self._transport.get_write_buffer_size())
        if mark != self._mark or (self._paused and not self._unread) or self._task is not None:
            self._mark, self._mark_at = mark, now
        if progress != self._progress:
            self._progress, self._moved_at = progress, now
        unread = not self._lingering and (self._unread or (self._deaf and self._task is None))
        still_s = now - max(self._moved_at, self._mark_at)
        busy = self._task is not None or bool(self._ready)
        return Look(phase, reader.messages == 0, busy, unread, now - self._mark_at, still_s, reader.received)
