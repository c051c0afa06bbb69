"""The same application for any ASGI 3 server (uvicorn, hypercorn, granian), and for tests without one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from portside.errors import PayloadTooLarge
from portside.protocol.base import HttpReply, HttpRequest
from portside.server.application import Application
from portside.server.eager import continue_in_task
from portside.server.wire import refusal

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]
Callback: TypeAlias = Callable[[], Awaitable[None]]


class _Gone(Exception):
    """The client left before its request was complete."""


def asgi_app(application: Application, on_start: Callback | None = None, on_stop: Callback | None = None) -> AsgiApp:
    """One ASGI application.

    Args:
        application: what answers.
        on_start: awaited when the ASGI server starts (load the models here).
        on_stop: awaited when it stops, after readiness was taken away.
    """

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _http(application, scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(application, receive, send, (on_start, on_stop))
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    return app


async def _http(application: Application, scope: Message, receive: Receive, send: Send) -> None:
    try:
        request = await _read(scope, receive, application.limits.body_bytes)
    except _Gone:
        return
    except PayloadTooLarge as e:
        application.meter.failure("http", e.code.value)
        await _write(send, scope["method"], refusal(e))
        return
    reply = await _answer(application, request, receive)
    if reply is not None:
        await _write(send, scope["method"], reply)


async def _answer(application: Application, request: HttpRequest, receive: Receive) -> HttpReply | None:
    """The reply; ``None`` if the client left before it was there (its work is then cancelled)."""
    coroutine = application.handle(request)
    try:
        waiting = coroutine.send(None)
    except StopIteration as done:
        reply: HttpReply = done.value
        return reply
    task = continue_in_task(asyncio.get_running_loop(), coroutine, waiting)
    left = asyncio.ensure_future(_until_left(receive))
    application.meter.pending(1)
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        application.meter.pending(-1)
        for work in (task, left):
            work.cancel()
        await asyncio.gather(task, left, return_exceptions=True)


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(scope: Message, receive: Receive, limit_bytes: int) -> HttpRequest:
    headers = _joined(scope["headers"])
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        body += message.get("body", b"")
        if len(body) > limit_bytes:
            raise _too_large(limit_bytes)
        more = message.get("more_body", False)
    return HttpRequest(scope["method"], scope["path"], scope.get("query_string", b""), headers, bytes(body))


def _joined(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def _too_large(limit_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body has more than {limit_bytes} bytes: send fewer items at a time")


async def _write(send: Send, method: str, reply: HttpReply) -> None:
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", b"%d" % len(reply.body)),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else reply.body})


async def _lifespan(
    application: Application, receive: Receive, send: Send, callbacks: tuple[Callback | None, Callback | None]
) -> None:
    for callback, event in zip(callbacks, ("startup", "shutdown"), strict=True):
        await receive()
        if event == "shutdown":
            application.begin_drain()
        try:
            if callback is not None:
                await callback()
        except Exception as e:  # noqa: BLE001 -- the ASGI server decides what a failed start means
            await send({"type": f"lifespan.{event}.failed", "message": str(e)})
            return
        await send({"type": f"lifespan.{event}.complete"})
