from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from portside.errors import CorruptArtifact, ModelNotFound, RepositoryFailed
from portside.repository.base import ModelState
from portside.serving.watch import Watch

NOTHING: frozenset[str] = frozenset()


class Shelf:
    """The two reading methods of the port, as the test says."""

    def __init__(self) -> None:
        self.states: dict[str, ModelState | Exception] = {
            "a": ModelState("a", (1,), {}),
            "b": ModelState("b", (2,), {}),
        }
        self.listing: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.looks = 0

    def models(self) -> Sequence[str]:
        self.looks += 1
        assert self.gate.wait(30)
        if self.listing is not None:
            raise self.listing
        return sorted(self.states)

    def state(self, name: str) -> ModelState:
        state = self.states.get(name, ModelNotFound(f"no {name}"))
        if isinstance(state, Exception):
            raise state
        return state


def watch(shelf: Any, *only: str, timeout_s: float = 30.0) -> Watch:
    return Watch(shelf, frozenset(only), timeout_s)


async def test_all_models_or_only_some() -> None:
    assert set(await watch(Shelf()).look(NOTHING) or ()) == {"a", "b"}
    assert set(await watch(Shelf(), "b", "c").look(NOTHING) or ()) == {"b"}


async def test_one_model_that_cannot_be_read_does_not_hide_the_others() -> None:
    shelf = Shelf()
    shelf.states["a"] = CorruptArtifact("broken names")
    states = await watch(shelf).look(frozenset({"gone"}))
    assert states is not None
    assert isinstance(states["a"], CorruptArtifact)
    assert isinstance(states["gone"], ModelNotFound)
    assert states["b"] == ModelState("b", (2,), {})


@pytest.mark.parametrize("trouble", [RepositoryFailed("gone", detail="/secret"), OSError("disk")])
async def test_trouble_is_said_once_and_its_end_too(trouble: Exception, caplog: pytest.LogCaptureFixture) -> None:
    shelf = Shelf()
    looking = watch(shelf)
    shelf.listing = trouble
    with caplog.at_level(logging.INFO):
        assert await looking.look(NOTHING) is None
        assert await looking.look(NOTHING) is None
        shelf.listing = None
        assert await looking.look(NOTHING) is not None
    assert caplog.text.count("cannot be read") == 1
    assert caplog.text.count("can be read again") == 1


async def test_a_read_that_hangs_is_not_waited_for_and_not_doubled() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    looking = watch(shelf, timeout_s=0.01)
    assert await looking.look(NOTHING) is None
    assert await looking.look(NOTHING) is None
    assert shelf.looks == 1
    shelf.gate.set()
    patient = watch(shelf)
    patient._reading = looking._reading
    assert await patient.look(NOTHING) is not None


async def test_two_looks_at_once_share_one_read() -> None:
    shelf = Shelf()
    looking = watch(shelf)
    first, second = await asyncio.gather(looking.look(NOTHING), looking.look(NOTHING))
    assert first == second
    assert first is not None
    assert shelf.looks == 1
