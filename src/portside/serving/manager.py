"""Moves what is loaded towards what should be loaded. Carries out ``policy``; decides nothing itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any

import msgspec

from portside.engine.base import Engine
from portside.errors import EngineFailed, ModelNotFound, PortsideError
from portside.model.config import EngineName
from portside.model.status import State, VersionStatus
from portside.observe.ports import Meter
from portside.repository.base import ModelState, Repository
from portside.serving.execution import Bounds
from portside.serving.instance import InstancePool, as_answer
from portside.serving.inventory import Inventory, Slot
from portside.serving.loading import Loader, Warm, in_thread
from portside.serving.policy import Drain, Load, Retries, Unload, plan
from portside.serving.router import Router, unknown_model
from portside.serving.servable import Servable
from portside.serving.watch import Look, Watch

log = logging.getLogger(__name__)


class ManagerOptions(msgspec.Struct, frozen=True):
    """How the manager works.

    Attributes:
        only: names of the models to serve; empty for all there are.
        poll_s: pause between two looks at the repository, seconds; 0: it is read once, at the start.
        queue: requests that may wait for one version.
        cores: cores to use; ``None`` for those this process may use.
        drain_s: how long requests in flight may take when the server goes away, seconds.
        load_timeout_s: a load that takes longer has failed, seconds.
        read_timeout_s: a look at the repository that takes longer is not waited for, seconds.
        retries: how a failed load is tried again.
        bounds: limits for requests with pictures.
    """

    only: frozenset[str] = frozenset()
    poll_s: float = 1.0
    queue: int = 1024
    cores: int | None = None
    drain_s: float = 25.0
    load_timeout_s: float = 600.0
    read_timeout_s: float = 30.0
    retries: Retries = Retries()
    bounds: Bounds = Bounds()


class Manager:
    """Keeps the versions loaded that the repository says should be, one load at a time.

    Used from the event loop's thread only; whatever blocks runs on threads of its own. Every change of state happens
    in ``_act``, which runs after each event: the repository was read, a load ended, a version is idle, a pause is over.

    Args:
        repository: where versions come from.
        engines: the engines at hand.
        meter: where counts go.
        options: how it works.
        clock: ``time.monotonic``.
    """

    def __init__(
        self,
        repository: Repository,
        engines: Mapping[EngineName, Engine],
        meter: Meter,
        options: ManagerOptions = ManagerOptions(),  # noqa: B008 -- frozen
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.router = Router()
        self._watch = Watch(repository, options.only, options.read_timeout_s)
        self._loader = Loader(repository, engines, options.bounds, options.cores)
        self._meter = meter
        self._options = options
        self._clock = clock
        self._models: dict[str, Inventory] = {}
        self._required: frozenset[str] | None = None
        self._loading: str | None = None
        self._last_loaded = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._closing = False

    async def start(self) -> None:
        """Reads the repository and loads what should be loaded; then keeps looking in the background.

        Returns when every version that was wanted at the first look is ready or has failed. Never raises for a
        repository that cannot be read: it is not ready then, and keeps looking.
        """
        await self._look()
        if self._options.poll_s > 0:
            self._spawn(self._poll())
        while self._loading is not None and not self._closing:
            self._changed.clear()
            await self._changed.wait()

    def ready(self) -> bool:
        """Whether every model found at the start (or named in the options) has a version that answers.

        A model that appears later does not take readiness away while it loads, and a new version that fails does not
        either, as long as an older one answers.
        """
        if self._closing or self._required is None:
            return False
        return all(self._answers(name) for name in self._required)

    def statuses(self, name: str | None = None) -> Sequence[VersionStatus]:
        """The state of every version that was taken up, failed or should be there, by name and version.

        Raises:
            ModelNotFound: no model of that name is served.
        """
        if name is not None:
            model = self._models.get(name)
            found = [] if model is None else list(model.statuses())
            if not found:
                raise unknown_model(name, (m.name for m in self._models.values() if m.visible))
            return found
        return [status for key in sorted(self._models) for status in self._models[key].statuses()]

    async def aclose(self) -> None:
        """Lets go of everything, within ``drain_s``. Call it when nothing is accepted any more. Idempotent.

        The order: readiness off, requests in flight finish, what is still queued is answered with Unavailable, the
        workers end, the versions are freed.
        """
        if self._closing:
            return
        self._closing = True
        self._changed.set()
        end = self._clock() + self._options.drain_s
        servables = self._servables()
        await self._bounded((servable.idle() for servable in servables), end)
        self.router.close()
        await self._bounded((servable.pool.aclose(self._options.drain_s) for servable in servables), end)
        for servable in servables:
            self._meter.forget(servable.name, servable.version)
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._models.clear()
        log.info("all models are unloaded")

    def _servables(self) -> list[Servable]:
        slots = [slot for model in self._models.values() for slot in model.slots.values()]
        return [slot.servable for slot in slots if slot.servable is not None]

    async def _bounded(self, waits: Iterable[Coroutine[Any, Any, object]], end: float) -> None:
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=max(0.0, end - self._clock()))
            for task in late:
                task.cancel()
            if late:
                log.warning("%d version(s) did not come to rest in time: not waited for any longer", len(late))
                await asyncio.gather(*late, return_exceptions=True)

    # Looking at the repository.

    async def _poll(self) -> None:
        while not self._closing:
            await asyncio.sleep(self._options.poll_s)
            try:
                await self._look()
            except Exception:
                log.exception("a look at the repository failed in an unforeseen way: trying again")

    async def _look(self) -> None:
        states = await self._watch.look(frozenset(self._models))
        if states is not None:
            self._take(states)

    def _take(self, states: Look) -> None:
        for name, state in states.items():
            model = self._models.setdefault(name, Inventory(name))
            if isinstance(state, ModelState):
                model.publish(state)
            elif isinstance(state, ModelNotFound) and not model.slots:
                # Nothing of it is loaded, so nothing can be lost by believing it.
                del self._models[name]
                self._required = None if self._required is None else self._required - ({name} - self._options.only)
            elif not model.absent:
                model.absent = True
                log.warning(
                    "model %s: %s; what is loaded of it goes on answering", name, state.message,
                    extra={"model": name, "detail": state.detail},
                )  # fmt: skip
        if self._required is None:
            self._required = self._options.only or frozenset(states)
            for name in sorted(self._required - frozenset(states)):
                log.warning("model %s is not published: not ready until it is", name, extra={"model": name})
        self._act()

    # Acting.

    def _act(self) -> None:
        """Carries out what the policy says for every model, and swaps the routing table."""
        self._changed.set()
        if self._closing:
            return
        now = self._clock()
        waits: list[float] = []
        loads: list[tuple[Inventory, Load]] = []
        for model in list(self._models.values()):
            for action in plan(model.view(), self._options.retries, now):
                match action:
                    case Drain(version):
                        self._drain(model, model.slots[version])
                    case Unload(version):
                        self._unload(model, model.slots.pop(version))
                    case Load():
                        loads.append((model, action))
                    case _:
                        waits.append(action.until_s)
        if self._loading is None and loads:
            self._begin(*next_load(loads, self._last_loaded), now)
        self.router.swap({name: model.route() for name, model in self._models.items() if model.visible})
        self._wake_at(min(waits, default=None), now)

    def _wake_at(self, until: float | None, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if until is None else asyncio.get_running_loop().call_later(until - now, self._act)

    def _drain(self, model: Inventory, slot: Slot) -> None:
        slot.state = State.DRAINING
        log.info("draining %s:%d", model.name, slot.version, extra={"model": model.name, "version": slot.version})
        if slot.servable is not None:
            self._spawn(self._act_when_idle(slot.servable))

    async def _act_when_idle(self, servable: Servable) -> None:
        await servable.idle()
        self._act()

    def _unload(self, model: Inventory, slot: Slot) -> None:
        slot.state = State.UNLOADED
        if slot.servable is not None:
            slot.servable.pool.close()
            self._meter.forget(model.name, slot.version)
        log.info("unloaded %s:%d", model.name, slot.version, extra={"model": model.name, "version": slot.version})

    def _begin(self, model: Inventory, load: Load, now: float) -> None:
        slot = Slot(load.version, now, for_all=load.for_all)
        model.slots[load.version] = slot
        self._loading = self._last_loaded = model.name
        self._spawn(self._load(model, slot))

    async def _load(self, model: Inventory, slot: Slot) -> None:
        try:
            limit = self._options.load_timeout_s
            work = in_thread(lambda: self._loader.load(model.name, slot.version, slot.warm), f"load {model.name}")
            warm = await asyncio.wait_for(work, limit)
            if not self._closing:
                self._welcome(model, slot, warm)
        except Exception as e:  # noqa: BLE001 -- whatever it is, healthy versions go on
            self._fail(model, slot, _reason(e, self._options.load_timeout_s))
        finally:
            self._loading = None
            self._act()

    def _welcome(self, model: Inventory, slot: Slot, warm: Warm) -> None:
        pool = InstancePool(warm.sessions, capacity=self._options.queue, name=f"{model.name}:{slot.version}")
        meter = self._meter.servable(model.name, slot.version)
        slot.servable = Servable(warm.manifest, warm.execution, pool, meter, warm.inline_rows)
        pool.start()
        slot.manifest, slot.state = warm.manifest, State.READY
        model.failures.pop(slot.version, None)
        load_s = self._clock() - slot.since_s
        self._meter.loaded(model.name, slot.version, load_s)
        log.info(
            "%s:%d is ready", model.name, slot.version,
            extra={"model": model.name, "version": slot.version, "load_s": round(load_s, 3), "instances": pool.size,
                   "inline_rows": warm.inline_rows},
        )  # fmt: skip

    def _fail(self, model: Inventory, slot: Slot, error: PortsideError) -> None:
        slot.state = State.FAILED
        failure = model.fail(slot.version, error.message, self._clock())
        log.error(
            "%s:%d cannot be loaded (attempt %d of %d): %s",
            model.name, slot.version, failure.attempts, self._options.retries.attempts, error.message,
            extra={"model": model.name, "version": slot.version, "detail": error.detail}, exc_info=error.__cause__,
        )  # fmt: skip

    def _answers(self, name: str) -> bool:
        model = self._models.get(name)
        return model is not None and (model.serving is not None or model.withdrawn)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def next_load(loads: Sequence[tuple[Inventory, Load]], last: str) -> tuple[Inventory, Load]:
    """Which load comes first: of models without an answer before others, then in turn by name after ``last``."""
    return min(loads, key=lambda pair: (pair[0].serving is not None, pair[0].name <= last, pair[0].name))


def _reason(cause: Exception, limit_s: float) -> PortsideError:
    if isinstance(cause, TimeoutError):
        return EngineFailed(f"loading took longer than {limit_s:g} s and was given up")
    if isinstance(cause, PortsideError):
        return cause
    error = as_answer(cause)
    return EngineFailed("the version could not be loaded; the server's log says why", detail=error.detail)
