from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.model.status import State
from portside.repository.base import ModelState, Pin
from portside.serving.policy import Drain, Failure, Load, Loaded, Retries, Unload, View, Wait, choose_serving, plan

RETRIES = Retries(attempts=3, first_s=1.0, longest_s=10.0)
R, L, W, D = State.READY, State.LOADING, State.WARMING, State.DRAINING


def published(*versions: int, pin: Pin | None = None, **aliases: int) -> ModelState:
    return ModelState("m", versions, aliases, pin)


def ready(*versions: int) -> tuple[Loaded, ...]:
    return tuple(Loaded(v, R, 0, for_all=True) for v in versions)


CASES = {
    "nothing known: nothing happens": (View(), ()),
    "never read, but loaded: it stays": (View(None, ready(1), (), 1), ()),
    "never read, a drain is finished": (View(None, (Loaded(1, D),)), (Unload(1),)),
    "nothing published": (View(published()), ()),
    "the newest is loaded": (View(published(1, 2, 3)), (Load(3, for_all=True),)),
    "aliases are loaded after it": (
        View(published(1, 2, 3, stable=1, canary=3, gone=7, old=2)),
        (Load(3, for_all=True), Load(2), Load(1)),
    ),
    "a pin decides": (View(published(1, 2, 3, pin=Pin(2))), (Load(2, for_all=True),)),
    "a pin that lapsed does not": (View(published(1, 2, 3, pin=Pin(1, until=2))), (Load(3, for_all=True),)),
    "ready and wanted: nothing to do": (View(published(1, 2), ready(2), (), 2), ()),
    "the old one stays while the new one loads": (View(published(1, 2), (*ready(1), Loaded(2, L)), (), 1), ()),
    "and while it warms": (View(published(1, 2), (*ready(1), Loaded(2, W)), (), 1), ()),
    "then it drains": (View(published(1, 2), ready(1, 2), (), 1), (Drain(1),)),
    "unless an alias holds it": (View(published(1, 2, stable=1), ready(1, 2), (), 2), ()),
    "a held version is not unloaded": (View(published(1, 2), (Loaded(1, D, 3), *ready(2)), (), 2), ()),
    "it is when all have let go": (View(published(1, 2), (Loaded(1, D, 0), *ready(2)), (), 2), (Unload(1),)),
    "wanted again while draining: first it ends": (View(published(1), (Loaded(1, D, 1),), (), None), ()),
    "a deleted version goes when another answers": (View(published(1, 3), ready(2, 3), (), 2), (Drain(2),)),
    "a deleted version answers until then": (View(published(1), ready(2), (), 2), (Load(1, for_all=True),)),
    "all deleted, and the repository says so": (View(published(), ready(2), (), 2), (Drain(2),)),
    "a rollback loads first": (View(published(1, 2, pin=Pin(1, 2)), ready(2), (), 2), (Load(1, for_all=True),)),
    "a load that is no longer wanted ends by draining": (View(published(1, 2), ready(1, 2), (), 2), (Drain(1),)),
    "a failure waits": (View(published(1, 2), ready(1), (Failure(2, 1, 99.5),), 1), (Wait(100.5),)),
    "and is tried again": (View(published(1, 2), ready(1), (Failure(2, 2, 98.0),), 1), (Load(2, for_all=True),)),
    "but not for ever": (View(published(1, 2), ready(1), (Failure(2, 3, 0.0),), 1), ()),
    "the pause doubles": (View(published(2), (), (Failure(2, 2, 99.0),)), (Wait(101.0),)),
    "nothing answers and the newest is broken: the one before": (
        View(published(1, 2, 3), (), (Failure(3, 3, 0.0),)),
        (Load(2, for_all=True),),
    ),
    "that is broken too: the one before that": (
        View(published(1, 2, 3, 4), (), (Failure(3, 3, 0.0), Failure(4, 3, 0.0))),
        (Load(2, for_all=True),),
    ),
    "three broken ones in a row: it ends": (
        View(published(1, 2, 3, 4), (), (Failure(2, 3, 0.0), Failure(3, 3, 0.0), Failure(4, 3, 0.0))),
        (),
    ),
    "the fallback stays while the newest is tried again": (
        View(published(1, 2, 3), ready(2), (Failure(3, 1, 0.0),), 2),
        (Load(3, for_all=True),),
    ),
    "and goes when that comes up": (View(published(1, 2, 3), ready(2, 3), (), 2), (Drain(2),)),
}


@pytest.mark.parametrize(("view", "expected"), CASES.values(), ids=CASES.keys())
def test_plan(view: View, expected: tuple[object, ...]) -> None:
    assert plan(view, RETRIES, now=100.0) == expected


SERVING = {
    "nothing": (View(), None),
    "current": (View(published(1, 2), ready(1, 2), (), 1), 2),
    "last good": (View(published(1, 2), ready(1), (), 1), 1),
    "a step towards a current that is not there yet": (View(published(1, 2, 9), ready(1, 2), (), 1), 2),
    "an alias' version is no step": (View(published(1, 2, 9), (*ready(1), Loaded(2, R)), (), 1), 1),
    "a rollback does not go through others": (View(published(1, 2, 9, pin=Pin(1, 9)), ready(2, 9), (), 9), 9),
    "an alias' version does not answer for all": (View(published(1, 2), (Loaded(1, R),)), None),
    "unknown repository": (View(None, ready(1), (), 1), 1),
    "draining": (View(published(1), (Loaded(1, D, 1),), (), 1), None),
    "all deleted": (View(published(), ready(1), (), 1), None),
}


@pytest.mark.parametrize(("view", "expected"), SERVING.values(), ids=SERVING.keys())
def test_choose_serving(view: View, expected: int | None) -> None:
    assert choose_serving(view) == expected


versions = st.sets(st.integers(1, 6), max_size=6)


@st.composite
def views(draw: st.DrawFn) -> View:
    there = tuple(sorted(draw(versions)))
    aliases = draw(st.dictionaries(st.sampled_from("ab"), st.integers(1, 7), max_size=2))
    pin = draw(st.none() | st.builds(Pin, st.integers(1, 6), st.none() | st.integers(1, 6)))
    loaded = {
        v: Loaded(v, draw(st.sampled_from([L, W, R, D])), draw(st.integers(0, 1)), draw(st.booleans()))
        for v in draw(versions)
    }
    failed = draw(versions) - set(loaded)
    failures = tuple(Failure(v, draw(st.integers(1, 3)), draw(st.floats(0, 100))) for v in failed)
    state = draw(st.none() | st.just(ModelState("m", there, aliases, pin)))
    return View(state, tuple(loaded.values()), failures, draw(st.none() | st.integers(1, 6)))


@given(views())
def test_whatever_the_state_nothing_that_answers_is_taken_away(view: View) -> None:
    actions = plan(view, RETRIES, now=100.0)
    states = {v.version: v for v in view.loaded}
    serving = choose_serving(view)
    for action in actions:
        match action:
            case Drain(version):
                assert version != serving
                assert states[version].state is R
                assert view.published is not None
            case Unload(version):
                assert states[version].state is D
                assert states[version].in_flight == 0
            case Load(version):
                assert version not in states
                assert view.published is not None
                assert version in view.published.versions
            case Wait(until_s):
                assert 100.0 < until_s < float("inf")
    if view.serving in states and states[view.serving].state is R and view.published and view.published.versions:
        assert serving is not None, "a model that answers goes on answering"
    assert len({(type(a), a) for a in actions}) == len(actions)


events = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.booleans()),
        st.tuples(st.just("delete"), st.integers(1, 9)),
        st.tuples(st.just("pin"), st.none() | st.integers(1, 9)),
        st.tuples(st.just("alias"), st.integers(1, 9)),
        st.tuples(st.just("work"), st.integers(1, 3)),
    ),
    max_size=25,
)


class Simulation:
    """A model's life with instant loads, one action at a time; broken versions fail to load."""

    def __init__(self) -> None:
        self.state = published(1)
        self.broken: set[int] = set()
        self.next = 2
        self.loaded: dict[int, Loaded] = {}
        self.failures: dict[int, Failure] = {}
        self.serving: int | None = None
        self.now = 0.0

    def view(self) -> View:
        return View(self.state, tuple(self.loaded.values()), tuple(self.failures.values()), self.serving)

    def happen(self, kind: str, value: int | None) -> None:
        state = self.state
        there = set(state.versions)
        if kind == "publish":
            self.broken |= {self.next} if value else set()
            self.state = ModelState("m", (*state.versions, self.next), state.aliases, state.pin)
            self.next += 1
        elif kind == "delete" and len(there) > 1 and value in there:
            self.state = ModelState("m", tuple(sorted(there - {value})), state.aliases, state.pin)
        elif kind == "pin" and (value is None or value in there):
            self.state = ModelState("m", state.versions, state.aliases, None if value is None else Pin(value))
        elif kind == "alias":
            self.state = ModelState("m", state.versions, {"a": int(value or 1)}, state.pin)
        elif kind == "work":
            for _ in range(int(value or 1)):
                self.step()

    def step(self) -> bool:
        """Carries out the first action; whether there was one."""
        self.now += 100.0
        self.failures = {v: f for v, f in self.failures.items() if v in self.state.versions}
        actions = plan(self.view(), RETRIES, self.now)
        answered = self.serving
        if actions:
            self._carry_out(actions[0])
        self.serving = choose_serving(self.view())
        assert answered is None or self.serving is not None, "a model that answers goes on answering"
        return bool(actions)

    def _carry_out(self, action: object) -> None:
        match action:
            case Load(version, for_all) if version in self.broken:
                attempts = 1 if version not in self.failures else self.failures[version].attempts + 1
                self.failures[version] = Failure(version, attempts, self.now)
            case Load(version, for_all):
                self.failures.pop(version, None)
                self.loaded[version] = Loaded(version, R, 0, for_all)
            case Drain(version):
                self.loaded[version] = Loaded(version, D)
            case Unload(version):
                del self.loaded[version]


@given(events)
def test_every_life_comes_to_rest_where_it_should(happenings: list[tuple[str, int | None]]) -> None:
    world = Simulation()
    for kind, value in happenings:
        world.happen(kind, value)
    for _ in range(200):
        if not world.step():
            break
    else:
        raise AssertionError("it never comes to rest")
    current = world.state.current
    assert current is not None
    if current in world.broken:
        assert world.serving != current
    else:
        assert world.serving == current
        aliased = set(world.state.aliases.values()) & set(world.state.versions) - world.broken
        assert set(world.loaded) == {current} | aliased
