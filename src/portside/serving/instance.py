"""The one bridge between the event loop above and the blocking engines below."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Generic, TypeVar

import msgspec

from portside.engine.base import Session
from portside.errors import DeadlineExceeded, EngineFailed, Overloaded, PortsideError, Unavailable

T = TypeVar("T")
Work = Callable[[Session], T]
"""A piece of work: gets a session for itself alone, blocks, returns or raises."""

INLINE_LIMIT_S = 1e-3
"""Work whose average time in the event loop's thread exceeds this is sent to the workers from then on."""

_CLOSED = "the model is being unloaded: try again, another version or another server may answer"


class Done(msgspec.Struct, Generic[T]):
    """An answer and what it took.

    Attributes:
        value: what the work returned.
        queue_s: time it waited for a session, seconds.
        compute_s: time it ran, seconds.
    """

    value: T
    queue_s: float
    compute_s: float


class _Instance:
    """A session and the lock that says who runs it: its own thread, or the event loop (inline)."""

    __slots__ = ("lock", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.lock = threading.Lock()


class _Piece(Generic[T]):
    """Work on its way through the pool, together with the future its caller waits on.

    The worker writes ``done`` or ``error`` and never touches the future; the event loop reads them after the worker
    is finished with the piece.
    """

    __slots__ = ("deadline", "done", "error", "future", "running", "submitted", "work")

    def __init__(self, work: Work[T], deadline: float, future: asyncio.Future[Done[T]]) -> None:
        self.work: Work[T] | None = work
        self.deadline = deadline
        self.future = future
        self.submitted = monotonic()
        self.running = False
        self.done: Done[T] | None = None
        self.error: PortsideError | None = None

    def run(self, instance: _Instance) -> None:
        """Runs on the worker's thread. Whatever happens ends up in ``done`` or ``error``."""
        work, self.work = self.work, None
        if work is None or self.future.done():
            return
        with instance.lock:
            started = monotonic()
            if started >= self.deadline:
                self.error = self.too_late()
                return
            self.running = True
            try:
                value = work(instance.session)
            except BaseException as e:  # noqa: BLE001 -- a worker that dies would leave its caller without an answer
                self.error = as_answer(e)
            else:
                self.done = Done(value, started - self.submitted, monotonic() - started)

    def deliver(self) -> None:
        """Runs on the event loop: hands the outcome to the caller, if it still waits."""
        if self.future.done():
            return
        if self.done is not None:
            self.future.set_result(self.done)
        else:
            self.future.set_exception(self.error or Unavailable(_CLOSED))

    def expire(self) -> None:
        """Runs on the event loop when the deadline passes: the caller goes, a late result is dropped."""
        self.work = None
        if not self.future.done():
            self.future.set_exception(self.too_late())

    def too_late(self) -> DeadlineExceeded:
        """The error for a passed deadline; the message tells waiting from computing."""
        doing = "computing" if self.running else "waiting for a free instance"
        allowed = max(0.0, self.deadline - self.submitted)
        return DeadlineExceeded(
            f"no answer within {allowed:.3g} s (still {doing}): allow more time or send less at once"
        )


def as_answer(cause: BaseException) -> PortsideError:
    """What a caller is told when its work raised: our own errors as they are, anything else as EngineFailed."""
    if isinstance(cause, PortsideError):
        return cause
    error = EngineFailed("the model failed on this request; the server's log says why", detail=repr(cause))
    error.__cause__ = cause
    return error


class InstancePool:
    """The instances of one servable: a bounded queue, and one worker thread a session.

    Every submitted piece leaves with an answer: its result, its own error, DeadlineExceeded, or Unavailable when the
    pool closes. All methods are called from the event loop's thread.

    Args:
        sessions: what ``Engine.load`` returned; the pool is their only user from now on.
        capacity: pieces that may wait; one more is refused with Overloaded.
        name: for the threads' names.
    """

    def __init__(self, sessions: Sequence[Session], *, capacity: int = 1024, name: str = "model") -> None:
        self._instances = [_Instance(s) for s in sessions]
        self._size = len(self._instances)
        self._bound = capacity + self._size
        self._name = name
        self._queue: SimpleQueue[_Piece[Any] | None] = SimpleQueue()
        self._inside = 0
        self._finished: deque[_Piece[Any]] = deque()
        self._woken = False
        self._closed = False
        self._inline_pace_s = 0.0
        self._running = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None

    @property
    def size(self) -> int:
        """Number of instances."""
        return self._size

    def start(self) -> None:
        """Starts the workers. The threads are daemons: an engine that hangs does not keep the process alive."""
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        for number, instance in enumerate(self._instances):
            self._running += 1
            threading.Thread(target=self._serve, args=(instance,), name=f"{self._name}#{number}", daemon=True).start()

    async def submit(self, work: Work[T], deadline: float) -> Done[T]:
        """Runs ``work`` on a worker thread.

        Args:
            work: called once at most, with a session nobody else uses meanwhile.
            deadline: ``time.monotonic()`` value after which nobody wants the answer.

        Raises:
            Overloaded: too much is waiting already; nothing was started.
            DeadlineExceeded: the deadline passed; the caller never waits longer than that.
            Unavailable: the pool is closed, or was closed while the piece waited.
            PortsideError: what the work raised; foreign exceptions come as EngineFailed.
        """
        loop = self._loop
        if loop is None or self._closed:
            raise Unavailable(_CLOSED)
        if self._inside >= self._bound:
            waiting = self._inside - self._size
            raise Overloaded(f"{waiting} requests are waiting for this model, which is the limit: try again later")
        future: asyncio.Future[Done[T]] = loop.create_future()
        piece = _Piece(work, deadline, future)
        timer = loop.call_at(deadline, piece.expire)
        self._inside += 1
        self._queue.put(piece)
        try:
            return await future
        finally:
            timer.cancel()
            # A caller that went away without a cancelled future (a closed coroutine) wants no answer either.
            future.cancel()

    def run_inline(self, work: Work[T]) -> Done[T] | None:
        """Runs ``work`` here and now, in the event loop's thread.

        Returns:
            ``None`` if no instance is free at this moment, or if such work has taken too long lately: submit it.

        Raises:
            PortsideError: as for :meth:`submit`.
        """
        if self._closed:
            raise Unavailable(_CLOSED)
        if self._inline_pace_s > INLINE_LIMIT_S:
            return None
        for instance in self._instances:
            if instance.lock.acquire(blocking=False):
                started = monotonic()
                try:
                    value = work(instance.session)
                except PortsideError:
                    raise
                except Exception as e:  # the engine's own kinds become answers
                    raise as_answer(e) from e
                finally:
                    instance.lock.release()
                compute_s = monotonic() - started
                # A moving average; a single long run (the process was preempted, say) counts only so much.
                self._inline_pace_s += (min(compute_s, 4 * INLINE_LIMIT_S) - self._inline_pace_s) / 32
                return Done(value, 0.0, compute_s)
        return None

    def close(self) -> None:
        """Takes no more work, answers what is queued with Unavailable, and lets the workers end. Idempotent."""
        if self._closed:
            return
        self._closed = True
        while True:
            try:
                piece = self._queue.get_nowait()
            except Empty:
                break
            if piece is not None:
                piece.error = Unavailable(_CLOSED)
                self._finished.append(piece)
        self._flush()
        for _ in range(self._running):
            self._queue.put(None)
        # From here on only the workers hold the sessions, so that freeing one never blocks the event loop.
        self._instances = []

    async def aclose(self, timeout_s: float) -> bool:
        """Closes, and waits for the workers to finish what they run, ``timeout_s`` seconds at most.

        Returns:
            whether all workers ended; one that hangs in its engine is left behind.
        """
        self.close()
        if self._stopped is None or self._running == 0:
            return True
        try:
            await asyncio.wait_for(self._stopped.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def _serve(self, instance: _Instance) -> None:
        """A worker's life."""
        while (piece := self._queue.get()) is not None:
            piece.run(instance)
            self._finished.append(piece)
            del piece  # an idle worker must not keep the last request alive
            if not self._woken:
                self._woken = True
                self._call(self._flush)
        # Freed before the end is told: an engine's destructor that is still at work on this thread when the
        # interpreter ends would abort the process.
        del instance.session
        self._call(self._ended)

    def _call(self, callback: Callable[[], None]) -> None:
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(callback)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

    def _flush(self) -> None:
        """Delivers everything finished so far: one wake-up may carry many answers.

        The flag falls before the queue is emptied, so that a piece appended meanwhile either is seen here or wakes
        the loop again.
        """
        self._woken = False
        while self._finished:
            self._inside -= 1
            self._finished.popleft().deliver()

    def _ended(self) -> None:
        self._running -= 1
        if self._running == 0 and self._stopped is not None:
            self._stopped.set()
