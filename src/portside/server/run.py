"""A server's life: listen, load, answer, and stop in one written order.

The order of stopping: readiness off, stop accepting, finish what is in flight, put the models away, close.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from portside.server.address import bind, url
from portside.server.application import Application
from portside.server.descriptors import affordable, raise_allowance
from portside.server.http import HttpConnection
from portside.server.listener import Listener
from portside.server.options import ListenerOptions, ServerOptions
from portside.serving.manager import Manager

_HURRIED_S = 1.0
_log = logging.getLogger("portside.server")


class Stop:
    """A wish to stop. The first ``ask`` drains, a second one does not wait any more. Event loop's thread only."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    def ask(self) -> None:
        """Asks once, or once more."""
        if self.asked.is_set():
            self.hurried.set()
        self.asked.set()


async def serve(
    application: Application,
    manager: Manager,
    options: ServerOptions = ServerOptions(),  # noqa: B008 -- frozen
    on_ready: Callable[[str], None] | None = None,
    stop: Stop | None = None,
) -> None:
    """Serves until it is told to stop: by SIGTERM or SIGINT (in the main thread), or through ``stop``.

    The socket listens before the models are loaded, so that liveness can be asked; readiness follows the manager.

    Args:
        application: answers the requests.
        manager: is started, and closed in the end whatever happens.
        options: where to listen and how to stop.
        on_ready: called with the URL once the models that should be are loaded.
        stop: to stop from elsewhere in the program.

    Raises:
        InvalidSettings: nothing can listen at that address.
        PortsideError: what the manager raised when it started.
    """
    stop = Stop() if stop is None else stop
    loop = asyncio.get_running_loop()
    sockets = bind(options.host, options.port, options.backlog)
    listener = Listener(application.handle, application.meter, _bounds(application, options.listener))
    listener.start(loop)
    servers = [await loop.create_server(lambda: HttpConnection(listener), sock=s) for s in sockets]
    address = url(sockets[0])
    with _signals(loop, stop):
        try:
            if await _unless(stop.asked, manager.start()):
                _log.info("ready", extra={"url": address})
                if on_ready is not None:
                    on_ready(address)
                with _settled():
                    await stop.asked.wait()
        finally:
            await _shut_down(application, manager, listener, servers, (options, stop))


def _bounds(application: Application, wanted: ListenerOptions) -> ListenerOptions:
    """What the listener is told; only a process that is ours is given more descriptors."""
    if threading.current_thread() is threading.main_thread():
        raise_allowance(wanted.connections)
    return msgspec.structs.replace(
        wanted, body_bytes=application.limits.body_bytes, connections=affordable(wanted.connections)
    )


async def _shut_down(
    application: Application,
    manager: Manager,
    listener: Listener,
    servers: list[asyncio.Server],
    how: tuple[ServerOptions, Stop],
) -> None:
    """The written order."""
    options, stop = how
    _log.info("stopping", extra={"connections": len(listener.connections)})
    application.begin_drain()
    if options.lame_duck_s > 0:
        await _unless(stop.hurried, asyncio.sleep(options.lame_duck_s))
    for server in servers:
        server.close()
    if not await _unless(stop.hurried, listener.drain(options.drain_s)):
        _log.warning("told to hurry: cutting %d connections", len(listener.connections))
        listener.stop()
    closing = asyncio.ensure_future(manager.aclose())
    close_s = _HURRIED_S if stop.hurried.is_set() else options.close_s
    done, _ = await asyncio.wait({closing}, timeout=close_s)
    if not done:
        closing.cancel()
        _log.warning("the models were not put away within %.0f s; going without", close_s)
    listener.stop()
    if done:
        closing.result()
    _log.info("stopped")


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Does some work; gives it up when an event comes first. Returns whether it was done; raises what it raised."""
    task, waiter = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        return False
    finally:
        for one in (task, waiter):
            one.cancel()
        await asyncio.gather(task, waiter, return_exceptions=True)


@contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stop: Stop) -> Iterator[None]:
    """SIGTERM and SIGINT ask to stop, where this thread may say so."""
    heard: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError, RuntimeError):
                loop.add_signal_handler(number, stop.ask)
                heard.append(number)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)


@contextmanager
def _settled() -> Iterator[None]:
    """Spares what the start has left in memory from every later search for garbage, which would pause all requests.

    Only where the process is ours; embedded, the memory is somebody else's.
    """
    ours = threading.current_thread() is threading.main_thread()
    if ours:
        gc.collect()
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()
