"""The blocking half of taking a version up: check its bytes, load it, warm it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from portside.engine.base import Engine, Session
from portside.errors import CorruptArtifact
from portside.model.artifact import file_entry
from portside.model.config import EngineName
from portside.model.manifest import Manifest
from portside.repository.base import Repository
from portside.serving.execution import Bounds, Execution
from portside.serving.fit import load_sessions
from portside.serving.warmup import warm_up

T = TypeVar("T")


class Warm(msgspec.Struct, frozen=True):
    """A version ready to answer.

    Attributes:
        manifest: its record.
        execution: what a piece of work does.
        sessions: warmed.
        inline_rows: see :func:`portside.serving.warmup.warm_up`.
    """

    manifest: Manifest
    execution: Execution
    sessions: Sequence[Session]
    inline_rows: int


class Loader:
    """Takes versions up. Holds no state; blocks; may be called from any thread.

    Args:
        repository: where versions come from.
        engines: the engines at hand.
        bounds: limits for requests with pictures.
        cores: cores to use; ``None`` for those this process may use.
    """

    def __init__(
        self,
        repository: Repository,
        engines: Mapping[EngineName, Engine],
        bounds: Bounds = Bounds(),  # noqa: B008 -- frozen
        cores: int | None = None,
    ) -> None:
        self._repository = repository
        self._engines = engines
        self._bounds = bounds
        self._cores = cores

    def load(self, name: str, version: int, warming: Callable[[Manifest], None]) -> Warm:
        """Checks, loads and warms one version.

        Args:
            name: the model.
            version: the version.
            warming: called (on this thread) when it is loaded and only has to be warmed.

        Raises:
            CorruptArtifact: a file is missing or does not have the digest that the manifest states.
            PortsideError: what the repository or the engine raised.
        """
        manifest = self._repository.manifest(name, version)
        folder = self._repository.folder(name, version)
        for entry in manifest.artifact.files:
            try:
                found = file_entry(folder, entry.path)
            except OSError as e:
                raise CorruptArtifact(f"the file '{entry.path}' of {name}:{version} is missing", detail=str(e)) from e
            if found.sha256 != entry.sha256:
                raise CorruptArtifact(
                    f"the file '{entry.path}' of {name}:{version} is not what was published: its digest differs; "
                    "publish the version again"
                )
        sessions = load_sessions(manifest, folder, self._engines, cores=self._cores)
        warming(manifest)
        execution = Execution(manifest.signature, manifest.processing, self._bounds)
        return Warm(manifest, execution, sessions, warm_up(execution, sessions))


def in_thread(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Runs blocking work on a thread of its own.

    Not an executor: its threads would be waited for at exit, and a disk or an engine that hangs would hang the exit.

    Returns:
        a future of the running loop; whoever waits bounds the time. A result that comes after it was cancelled is
        dropped.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(value: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)  # type: ignore[arg-type]  # None only where T is None

    def run() -> None:
        value: T | None = None
        error: BaseException | None = None
        try:
            value = work()
        except BaseException as e:  # noqa: BLE001 -- carried to the caller
            error = e
        try:
            loop.call_soon_threadsafe(deliver, value, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
