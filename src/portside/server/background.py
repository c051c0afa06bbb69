"""A server in a thread of its own, for notebooks, tests and the Python API."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any

from portside.errors import PortsideError, Unavailable
from portside.server.application import Application
from portside.server.options import ServerOptions
from portside.server.run import Stop, serve
from portside.serving.manager import Manager


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine to its end on a new loop: uvloop's where it is installed, else asyncio's."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


class ServerHandle:
    """A running server. Stop it, or use it as a context manager; at the latest the interpreter's end stops it.

    Attributes:
        url: where it answers.
    """

    def __init__(self, url: str, thread: threading.Thread, loop: asyncio.AbstractEventLoop, stop: Stop) -> None:
        self.url = url
        self._thread = thread
        self._loop = loop
        self._stop = stop

    def stop(self, timeout_s: float = 60.0) -> None:
        """Drains and stops, and returns when that is done. Calling it again does nothing.

        Raises:
            Unavailable: it was not done after ``timeout_s`` seconds.
        """
        atexit.unregister(self.stop)
        if not self._thread.is_alive():
            return
        with suppress(RuntimeError):  # the loop may just have ended by itself
            self._loop.call_soon_threadsafe(self._stop.ask)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise Unavailable(f"the server has not stopped within {timeout_s:g} s; requests may still be running")

    def __enter__(self) -> ServerHandle:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def serve_in_thread(
    application: Application,
    manager: Manager,
    options: ServerOptions = ServerOptions(),  # noqa: B008 -- frozen
    timeout_s: float = 300.0,
) -> ServerHandle:
    """Starts a server in a thread and returns when it is ready.

    Args:
        application: answers the requests.
        manager: is started in that thread, and closed there.
        options: where to listen and how to stop.
        timeout_s: how long the models may take to be ready.

    Raises:
        PortsideError: what :func:`portside.server.run.serve` raised; Unavailable if it took too long.
    """
    running: Future[tuple[asyncio.AbstractEventLoop, Stop]] = Future()
    ready: Future[str] = Future()

    async def main() -> None:
        stop = Stop()
        running.set_result((asyncio.get_running_loop(), stop))
        try:
            await serve(application, manager, options, ready.set_result, stop)
        except BaseException as e:
            if ready.done():
                raise
            ready.set_exception(e)
        if not ready.done():
            ready.set_exception(Unavailable("the server was told to stop before it was ready"))

    thread = threading.Thread(target=run, args=(main(),), name="portside-server", daemon=True)
    thread.start()
    loop, stop = running.result()
    try:
        url = ready.result(timeout_s)
    except TimeoutError:
        loop.call_soon_threadsafe(stop.ask)
        raise Unavailable(f"the server was not ready within {timeout_s:g} s; it is told to stop") from None
    except PortsideError:
        thread.join()
        raise
    handle = ServerHandle(url, thread, loop, stop)
    atexit.register(handle.stop)
    return handle
