from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from portside.engine.base import Session
from portside.errors import ModelNotFound, RepositoryFailed, Unavailable, VersionNotFound
from portside.model.config import EngineConfig, EngineName
from portside.model.inference import InferRequest
from portside.model.ref import ModelRef
from portside.model.status import State
from portside.observe.null import NullMeter, NullServableMeter
from portside.repository.base import ModelState, Pin
from portside.repository.local import LocalRepository
from portside.serving.dataplane import DataPlane
from portside.serving.inventory import Inventory
from portside.serving.manager import Manager, ManagerOptions, next_load
from portside.serving.policy import Load, Retries

ONES = np.ones((1, 2), np.float32)


class Ledger(NullMeter):
    """Keeps which versions came and went."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []

    def servable(self, model: str, version: int) -> NullServableMeter:
        self.events.append(("servable", version))
        return NullServableMeter()

    def loaded(self, model: str, version: int, load_s: float) -> None:
        assert load_s >= 0
        self.events.append(("loaded", version))

    def forget(self, model: str, version: int) -> None:
        self.events.append(("forget", version))


class Moody:
    """A repository whose reading can be made to fail; everything else is the real one's."""

    def __init__(self, real: LocalRepository) -> None:
        self._real = real
        self.trouble: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def models(self) -> Sequence[str]:
        if self.trouble is not None:
            raise self.trouble
        return self._real.models()

    def state(self, name: str) -> ModelState:
        if self.trouble is not None:
            raise self.trouble
        return self._real.state(name)


class GatedEngine:
    """ONNX Runtime behind a gate: a load enters, waits until it is open, goes on."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.loads = 0
        self.at_once = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def load(self, entry: Path, config: EngineConfig) -> Sequence[Session]:
        self.loads += 1
        self.at_once += 1
        assert self.at_once == 1, "one load at a time"
        self.entered.release()
        assert self.gate.wait(30)
        self.at_once -= 1
        sessions: Sequence[Session] = self._real.load(entry, config)
        return sessions


class World:
    """A repository, an engine and a manager over them."""

    def __init__(self, make: SimpleNamespace, tmp_path: Path) -> None:
        self._make = make
        self._tmp_path = tmp_path
        (tmp_path / "models").mkdir()
        self.repository = LocalRepository(tmp_path / "models")
        self.moody = Moody(self.repository)
        self.engine = GatedEngine(make.engine)
        self.meter = Ledger()
        self.managers: list[Manager] = []

    def publish(self, name: str = "line") -> int:
        """Publishes the next version; its output is ``x + version``."""
        number = 1 + max(self.repository.state(name).versions, default=0) if name in self.repository.models() else 1
        folder = self._tmp_path / "built" / f"{name}-{number}"
        published: int = self.repository.publish(
            self._make.manifest(self._make.line(folder, 1.0, number), name=name), folder
        ).version
        return published

    def spoil(self, version: int, name: str = "line") -> None:
        """Changes a byte of a published graph."""
        path = self.repository.folder(name, version) / "model.onnx"
        path.parent.chmod(0o755)
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    def manager(self, **options: Any) -> Manager:
        """A manager that looks often and gives up soon."""
        defaults: dict[str, Any] = {"poll_s": 0.01, "cores": 2, "retries": Retries(2, 0.01, 0.01), "drain_s": 10.0}
        manager = Manager(
            self.moody, {EngineName.ONNXRUNTIME: self.engine}, self.meter, ManagerOptions(**(defaults | options))
        )  # fmt: skip
        self.managers.append(manager)
        return manager

    async def loading(self) -> None:
        """Waits until the engine is loading."""
        assert await asyncio.to_thread(self.engine.entered.acquire, timeout=30)


@pytest.fixture
async def world(make: SimpleNamespace, tmp_path: Path) -> AsyncIterator[World]:
    made = World(make, tmp_path)
    yield made
    made.engine.gate.set()
    for manager in made.managers:
        await manager.aclose()


async def until(manager: Manager, condition: Callable[[], bool]) -> None:
    """Waits for the manager's events until a condition holds."""
    async with asyncio.timeout(30):
        while not condition():
            manager._changed.clear()
            await manager._changed.wait()


async def ask(manager: Manager, which: str = "line") -> tuple[int, float]:
    """The version that answers, and what it answers to ones."""
    dataplane = DataPlane(manager.router)
    ref = ModelRef.parse(which)
    response = await dataplane.infer(dataplane.resolve(ref), InferRequest(ref, {"x": ONES}))
    return response.model_version, float(np.asarray(response.outputs["y"], np.float32)[0, 0]) - 1


def states(manager: Manager, name: str = "line") -> dict[int, State]:
    return {s.version: s.state for s in manager.statuses(name)}


async def test_loads_the_newest_and_aliases_and_says_so(world: World) -> None:
    for _ in range(3):
        world.publish()
    world.repository.set_alias("line", "stable", 1)
    manager = world.manager()
    assert not manager.ready()
    with pytest.raises(Unavailable, match="starting"):
        await ask(manager)
    await manager.start()
    assert manager.ready()
    assert await ask(manager) == (3, 3)
    assert await ask(manager, "line:stable") == (1, 1)
    assert await ask(manager, "line:1") == (1, 1)
    with pytest.raises(VersionNotFound, match="loaded are: 1, 3"):
        await ask(manager, "line:2")
    shown = [(s.version, s.state, s.aliases, s.current) for s in manager.statuses()]
    assert shown == [(1, State.READY, ("stable",), False), (3, State.READY, (), True)]
    assert all(s.manifest is not None for s in manager.statuses("line"))
    with pytest.raises(ModelNotFound, match="Request for unknown model: 'x' is not found"):
        manager.statuses("x")


async def test_nothing_published_is_ready_and_finds_what_comes(world: World) -> None:
    manager = world.manager()
    await manager.start()
    assert manager.ready()
    world.publish()
    await until(manager, lambda: "line" in manager.router.routes and manager.router.routes["line"].serving is not None)
    assert await ask(manager) == (1, 1)


async def test_without_polling_it_looks_once(world: World) -> None:
    world.publish()
    manager = world.manager(poll_s=0.0)
    await manager.start()
    world.publish()
    assert all(task.done() for task in manager._tasks)
    assert await ask(manager) == (1, 1)


async def test_only_some_models(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.publish("one")
    world.publish("two")
    manager = world.manager(only=frozenset({"two"}))
    await manager.start()
    assert manager.ready()
    assert await ask(manager, "two") == (1, 1)
    with pytest.raises(ModelNotFound):
        await ask(manager, "one")
    missing = world.manager(only=frozenset({"three"}))
    await missing.start()
    assert "model three is not published" in caplog.text
    assert not missing.ready(), "a model that was asked for by name is missed"
    world.publish("three")
    await until(missing, missing.ready)


async def test_the_old_version_answers_while_the_new_one_loads(world: World) -> None:
    world.publish()
    manager = world.manager()
    await manager.start()
    await world.loading()
    world.engine.gate.clear()
    world.publish()
    await world.loading()
    assert manager.ready()
    assert await ask(manager) == (1, 1)
    assert states(manager) == {1: State.READY, 2: State.LOADING}
    with pytest.raises(Unavailable, match="version 2 of model 'line' is not ready: it is being loaded"):
        await ask(manager, "line:2")
    world.engine.gate.set()
    await until(manager, lambda: states(manager) == {2: State.READY})
    assert await ask(manager) == (2, 2)
    assert world.meter.events == [("servable", 1), ("loaded", 1), ("servable", 2), ("loaded", 2), ("forget", 1)]


async def test_an_unloaded_version_is_freed(world: World) -> None:
    world.publish()
    manager = world.manager()
    await manager.start()
    pool = manager.router.resolve(ModelRef("line")).pool
    session = weakref.ref(pool._instances[0].session)
    workers = [t for t in threading.enumerate() if t.name.startswith("line:1#")]
    assert workers
    assert session() is not None
    await pool.submit(lambda s: s.run({"x": ONES}), float("inf"))
    world.publish()
    await until(manager, lambda: states(manager) == {2: State.READY})
    for worker in workers:
        await asyncio.to_thread(worker.join, 30)
    assert session() is None


async def test_not_ready_while_the_first_version_loads(world: World) -> None:
    world.publish()
    world.engine.gate.clear()
    manager = world.manager()
    starting = asyncio.ensure_future(manager.start())
    await world.loading()
    assert not manager.ready()
    with pytest.raises(Unavailable, match="it is being loaded"):
        await ask(manager)
    world.engine.gate.set()
    await starting
    assert manager.ready()


async def test_a_version_is_not_unloaded_under_a_request(world: World) -> None:
    world.publish()
    manager = world.manager()
    await manager.start()
    held = manager.router.resolve(ModelRef("line"))
    held.hold()
    world.publish()
    await until(manager, lambda: states(manager) == {1: State.DRAINING, 2: State.READY})
    world.repository.delete("line", 1, force=True)
    await until(manager, lambda: True)
    response = await DataPlane(manager.router).infer(held, InferRequest(ModelRef("line"), {"x": ONES}))
    assert response.model_version == 1
    held.release()
    await until(manager, lambda: states(manager) == {2: State.READY})
    with pytest.raises(Unavailable):
        await held.pool.submit(lambda _: None, float("inf"))


async def test_a_spoilt_version_leaves_the_old_one_answering(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.publish()
    manager = world.manager(retries=Retries(1))
    await manager.start()
    world.moody.trouble = RepositoryFailed("not now")
    world.spoil(world.publish())
    world.moody.trouble = None
    await until(manager, lambda: states(manager) == {1: State.READY, 2: State.FAILED})
    assert manager.ready()
    assert await ask(manager) == (1, 1)
    failed = manager.statuses("line")[1]
    assert "digest" in failed.reason
    assert "/" not in failed.reason, "no path of the server"
    with pytest.raises(Unavailable, match="digest"):
        await ask(manager, "line:2")
    world.publish()
    await until(manager, lambda: states(manager).get(3) is State.READY)
    assert await ask(manager) == (3, 3)


async def test_a_failed_load_is_tried_again_a_bounded_number_of_times(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.spoil(world.publish())
    manager = world.manager()
    await manager.start()
    await until(manager, lambda: "attempt 2 of 2" in caplog.text)
    await until(manager, lambda: True)
    assert not manager.ready()
    assert states(manager) == {1: State.FAILED}
    assert manager._timer is None
    assert manager._loading is None
    with pytest.raises(Unavailable, match="digest"):
        await ask(manager)


async def test_after_a_restart_the_last_good_version_answers(world: World) -> None:
    world.publish()
    world.publish()
    world.spoil(world.publish())
    manager = world.manager()
    await manager.start()
    await until(manager, manager.ready)
    assert await ask(manager) == (2, 2)
    assert states(manager) == {2: State.READY, 3: State.FAILED}


@pytest.mark.parametrize("trouble", [RepositoryFailed("disk"), ModelNotFound("gone"), OSError("stale handle")])
async def test_a_repository_that_goes_away_takes_nothing_with_it(world: World, trouble: Exception) -> None:
    world.publish()
    manager = world.manager()
    await manager.start()
    world.moody.trouble = trouble
    for _ in range(3):
        await manager._look()
    assert manager.ready()
    assert await ask(manager) == (1, 1)
    world.moody.trouble = None
    world.publish()
    await until(manager, lambda: states(manager) == {2: State.READY})


async def test_a_model_that_vanishes_goes_on_answering(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.publish()
    manager = world.manager()
    await manager.start()
    (world.repository.folder("line", 1).parent).rename(world._tmp_path / "elsewhere")
    for _ in range(3):
        await manager._look()
    assert await ask(manager) == (1, 1)
    assert manager.ready()
    assert caplog.text.count("goes on answering") == 1


async def test_a_model_of_which_the_repository_says_that_nothing_is_left(world: World) -> None:
    world.publish()
    manager = world.manager(poll_s=0.0)
    await manager.start()
    manager._take({"line": ModelState("line", (), {})})
    await until(manager, lambda: not manager.statuses())
    with pytest.raises(ModelNotFound):
        await ask(manager)
    assert manager.ready()


async def test_an_unreadable_repository_at_the_start(world: World) -> None:
    world.publish()
    world.moody.trouble = RepositoryFailed("not mounted yet")
    manager = world.manager()
    await manager.start()
    assert not manager.ready()
    world.moody.trouble = None
    await until(manager, manager.ready)
    assert await ask(manager) == (1, 1)


async def test_a_load_that_hangs_is_given_up(world: World) -> None:
    world.publish()
    manager = world.manager(load_timeout_s=0.02, retries=Retries(1))
    world.engine.gate.clear()
    await manager.start()
    assert "longer than 0.02 s" in manager.statuses("line")[0].reason
    assert not manager.ready()


async def test_a_rollback_switches_back_and_a_release_forward(world: World) -> None:
    world.publish()
    world.publish()
    manager = world.manager()
    await manager.start()
    world.repository.set_pin("line", Pin(1))
    await until(manager, lambda: states(manager) == {1: State.READY})
    assert await ask(manager) == (1, 1)
    world.repository.set_pin("line", None)
    await until(manager, lambda: states(manager) == {2: State.READY})
    assert await ask(manager) == (2, 2)


async def test_an_error_in_looking_does_not_end_the_looking(world: World, caplog: pytest.LogCaptureFixture) -> None:
    manager = world.manager()
    await manager.start()
    real, broke = manager._take, asyncio.Event()

    def breaking(_: object) -> None:
        broke.set()
        raise ZeroDivisionError

    manager._take = breaking  # type: ignore[method-assign]
    await asyncio.wait_for(broke.wait(), 30)
    manager._take = real  # type: ignore[method-assign]
    world.publish()
    await until(manager, lambda: bool(manager.statuses()))
    assert "unforeseen" in caplog.text


async def test_closing_lets_requests_finish_and_then_refuses(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.publish()
    manager = world.manager()
    await manager.start()
    servable = manager.router.resolve(ModelRef("line"))
    servable.hold()
    closing = asyncio.ensure_future(manager.aclose())
    await asyncio.sleep(0)
    assert not manager.ready()
    assert await ask(manager) == (1, 1), "whoever is still connected is still answered"
    assert not closing.done()
    servable.release()
    await closing
    with pytest.raises(Unavailable, match="shutting down"):
        await ask(manager)
    assert world.meter.events[-1] == ("forget", 1)
    assert not manager._tasks
    assert list(manager.statuses()) == []
    await manager.aclose()


async def test_closing_is_bounded_even_if_a_request_never_ends(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.publish()
    manager = world.manager(drain_s=0.02)
    await manager.start()
    manager.router.resolve(ModelRef("line")).hold()
    with caplog.at_level(logging.WARNING):
        await manager.aclose()
    assert "did not come to rest in time" in caplog.text


async def test_closing_while_loading_abandons_the_load(world: World) -> None:
    world.publish()
    world.engine.gate.clear()
    manager = world.manager()
    starting = asyncio.ensure_future(manager.start())
    await world.loading()
    await manager.aclose()
    async with asyncio.timeout(30):
        await starting
    assert not manager.ready()


async def test_a_load_that_ends_while_closing_is_not_taken_up(world: World) -> None:
    world.publish()
    manager = world.manager()
    await manager.start()
    await world.loading()
    servable = manager.router.resolve(ModelRef("line"))
    servable.hold()
    world.engine.gate.clear()
    world.publish()
    await world.loading()
    closing = asyncio.ensure_future(manager.aclose())
    world.engine.gate.set()
    await until(manager, lambda: manager._loading is None)
    servable.release()
    await closing
    assert ("servable", 2) not in world.meter.events


async def test_a_broken_model_that_is_taken_away_no_longer_stands_in_the_way(world: World) -> None:
    world.publish("good")
    world.spoil(world.publish("bad"), "bad")
    manager = world.manager(retries=Retries(1))
    await manager.start()
    assert not manager.ready()
    assert await ask(manager, "good") == (1, 1)
    world.repository.delete("bad", 1, force=True)
    await until(manager, manager.ready)
    with pytest.raises(ModelNotFound):
        manager.statuses("bad")


def test_whose_load_comes_first() -> None:
    a, b, c = Inventory("a"), Inventory("b"), Inventory("c")
    loads = [(m, Load(1)) for m in (a, b, c)]
    assert next_load(loads, "")[0] is a
    assert next_load(loads, "a")[0] is b
    assert next_load(loads, "c")[0] is a
    a.serving = b.serving = 1
    assert next_load(loads, "c")[0] is c, "a model without an answer before others"
