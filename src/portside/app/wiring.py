"""Puts a server together from its parts."""

from __future__ import annotations

import logging
import os
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import msgspec

from portside.app.plugins import engines
from portside.observe.prometheus import PrometheusMeter
from portside.protocol.base import HTML, HttpReply, Limits
from portside.repository.local import LocalRepository
from portside.server.application import About, Application
from portside.server.background import ServerHandle, run, serve_in_thread
from portside.server.options import ServerOptions
from portside.server.run import serve
from portside.serving.dataplane import DataPlane
from portside.serving.execution import Bounds
from portside.serving.manager import Manager, ManagerOptions
from portside.web.pages import playground


class Wanted(msgspec.Struct, frozen=True):
    """What a server is asked to be.

    Attributes:
        repository: folder that holds the published versions.
        host: address to listen on.
        port: 0 for any free one.
        only: names of the models to serve; all if empty.
        poll_s: pause between two looks at the repository, seconds; 0: one look, at the start.
        drain_s: how long requests in flight may take after a stop was asked for, seconds.
        cores: cores to use; ``None`` for those this process may use.
        limits: bounds on one request.
        access_log: whether every request is logged.
    """

    repository: Path
    host: str
    port: int
    only: tuple[str, ...] = ()
    poll_s: float = 1.0
    drain_s: float = 30.0
    cores: int | None = None
    limits: Limits = Limits()
    access_log: bool = False


def assemble(wanted: Wanted) -> tuple[Application, Manager, ServerOptions]:
    """The parts of a server, wired, nothing started."""
    release = version("portside")
    meter = PrometheusMeter(release)
    limits = wanted.limits
    manager = Manager(
        LocalRepository(wanted.repository),
        engines(),
        meter,
        ManagerOptions(
            only=frozenset(wanted.only),
            poll_s=wanted.poll_s,
            cores=wanted.cores,
            bounds=Bounds(pixels=limits.pixels, items=limits.items),
        ),
    )
    application = Application(
        DataPlane(manager.router),
        manager,
        meter,
        limits,
        pages={"/": HttpReply(200, playground(), HTML)},
        about=About(version=release, access_log=wanted.access_log),
    )
    return application, manager, ServerOptions(host=wanted.host, port=wanted.port, drain_s=wanted.drain_s)


def start_server(wanted: Wanted) -> ServerHandle:
    """A server in a thread of its own, ready. Raises InvalidSettings if it cannot listen there."""
    return serve_in_thread(*assemble(wanted))


def run_server(wanted: Wanted) -> None:
    """Serves in this thread until SIGTERM or SIGINT, then drains. The URL is printed once the models are loaded."""
    from portside.app.console import stderr_console

    console = stderr_console()

    def announce(url: str) -> None:
        console.print(f"Serving {wanted.repository} at {url}", soft_wrap=True)

    run(serve(*assemble(wanted), on_ready=announce))
    _leave()


def _leave() -> None:
    """Ends the process at once if a load is still going on somewhere.

    Python cannot stop a thread inside a native library, and unwinding it while the interpreter ends aborts the process.
    Everything of ours is closed by now, so there is nothing to unwind for.
    """
    others = (t for t in threading.enumerate() if t is not threading.current_thread())
    if any(t.daemon for t in others):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
