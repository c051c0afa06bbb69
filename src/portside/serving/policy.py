"""Which versions to load, drain and unload: decided from a snapshot, without threads or a clock."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from portside.model.status import State
from portside.repository.base import ModelState

_FALLBACKS = 2


class Loaded(msgspec.Struct, frozen=True):
    """A version that has been taken up.

    Attributes:
        version: its number.
        state: ``LOADING``, ``WARMING``, ``READY`` or ``DRAINING``.
        in_flight: requests that hold it.
        for_all: it was loaded to answer requests that name no version (and not only for an alias).
    """

    version: int
    state: State
    in_flight: int = 0
    for_all: bool = False


class Failure(msgspec.Struct, frozen=True):
    """A version that could not be loaded.

    Attributes:
        version: its number.
        attempts: how often it was tried.
        at_s: when it failed last, on the clock of ``now``.
        reason: why, as may be told to anybody.
    """

    version: int
    attempts: int
    at_s: float
    reason: str = ""


class Retries(msgspec.Struct, frozen=True):
    """How a failed load is tried again.

    Attributes:
        attempts: how often in all.
        first_s: pause after the first failure, seconds; doubles with each further one.
        longest_s: the longest pause, seconds.
    """

    attempts: int = 5
    first_s: float = 1.0
    longest_s: float = 60.0

    def due_s(self, failure: Failure) -> float | None:
        """When to try again; ``None``: never."""
        if failure.attempts >= self.attempts:
            return None
        return failure.at_s + min(self.longest_s, self.first_s * 2.0 ** (failure.attempts - 1))


class View(msgspec.Struct, frozen=True):
    """One model, as far as decisions need it.

    Attributes:
        published: what the repository said when it was last read with success; ``None``: never.
        loaded: what has been taken up.
        failures: what could not be loaded.
        serving: the version that answers unversioned requests now.
    """

    published: ModelState | None = None
    loaded: tuple[Loaded, ...] = ()
    failures: tuple[Failure, ...] = ()
    serving: int | None = None


class Load(msgspec.Struct, frozen=True, tag=True):
    """Take a version up; ``for_all``: it is meant for requests that name no version."""

    version: int
    for_all: bool = False


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Give a version no more requests."""

    version: int


class Unload(msgspec.Struct, frozen=True, tag=True):
    """Free a version that nobody holds."""

    version: int


class Wait(msgspec.Struct, frozen=True, tag=True):
    """Nothing to do before ``until_s``."""

    until_s: float


Action: TypeAlias = Load | Drain | Unload | Wait


def plan(view: View, retries: Retries, now: float) -> tuple[Action, ...]:
    """The next actions for one model.

    A ready version is drained only when the repository was read and neither wants it nor is it the one that answers
    meanwhile; so an unreadable repository changes nothing, and a version that does not come up replaces nothing.
    """
    actions: list[Action] = [Unload(v.version) for v in view.loaded if v.state is State.DRAINING and v.in_flight == 0]
    if view.published is None:
        return tuple(actions)
    wanted = aspired(view)
    keep = {load.version for load in wanted} | {choose_serving(view)}
    actions += [Drain(v.version) for v in view.loaded if v.state is State.READY and v.version not in keep]
    taken = {v.version for v in view.loaded}
    actions += [_attempt(load, view, retries, now) for load in wanted if load.version not in taken]
    return tuple(a for a in actions if not isinstance(a, Wait) or a.until_s != float("inf"))


def aspired(view: View) -> tuple[Load, ...]:
    """The versions that should be ready, in the order of their importance.

    The current one; when that failed and nothing else answers, the next older one; those that have an alias.
    """
    state = view.published
    if state is None or state.current is None:
        return ()
    current = state.current
    first = [current, *_fallback(view, current)]
    aliased = sorted(set(state.aliases.values()) & set(state.versions) - set(first), reverse=True)
    return (*(Load(v, for_all=True) for v in first), *(Load(v) for v in aliased))


def choose_serving(view: View) -> int | None:
    """The version that answers requests that name none.

    The current one if it is ready. Until then the one that answered so far, or a newer one on the way to the current
    (when versions are published faster than they load, each that arrives is a step forward).
    """
    ready = {v.version: v for v in view.loaded if v.state is State.READY}
    current = None if view.published is None else view.published.current
    if current is None:
        return view.serving if view.published is None and view.serving in ready else None
    if current in ready:
        return current
    candidates = [v.version for v in ready.values() if v.for_all and v.version < current]
    if view.serving in ready:
        return max([view.serving, *(v for v in candidates if v > view.serving)])
    return max(candidates, default=None)


def _fallback(view: View, current: int) -> list[int]:
    """Older versions to bring up because the current one failed and nothing answers (after a restart, say)."""
    failed = {f.version for f in view.failures}
    if current not in failed or view.published is None:
        return []
    serving = choose_serving(view)
    if serving is not None:
        return [serving] if serving in view.published.versions else []
    older = [v for v in reversed(view.published.versions) if v < current][:_FALLBACKS]
    return [v for v in older if v not in failed][:1]


def _attempt(load: Load, view: View, retries: Retries, now: float) -> Action:
    for failure in view.failures:
        if failure.version == load.version:
            due_s = retries.due_s(failure)
            if due_s is None:
                return Wait(float("inf"))
            return load if now >= due_s else Wait(due_s)
    return load
