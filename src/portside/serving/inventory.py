"""What a server has of one model: the versions taken up, those that failed, and which one answers."""

from __future__ import annotations

from collections.abc import Iterator

from portside.model.manifest import Manifest
from portside.model.status import State, VersionStatus
from portside.repository.base import ModelState
from portside.serving.policy import Failure, Loaded, View, aspired, choose_serving
from portside.serving.router import Route
from portside.serving.servable import Servable

_WORDS = {
    State.LOADING: "it is being loaded",
    State.WARMING: "it is being warmed up",
    State.DRAINING: "it is being unloaded",
}


class Slot:
    """One version on its way through its life; the state only moves forward.

    Args:
        version: its number.
        since_s: when it was taken up.
        for_all: see :class:`portside.serving.policy.Loaded`.
    """

    def __init__(self, version: int, since_s: float, *, for_all: bool) -> None:
        self.version = version
        self.since_s = since_s
        self.for_all = for_all
        self.state = State.LOADING
        self.manifest: Manifest | None = None
        self.servable: Servable | None = None

    def warm(self, manifest: Manifest) -> None:
        """It is loaded and being warmed up. Called from the loading thread: two plain assignments."""
        self.manifest = manifest
        self.state = State.WARMING


class Inventory:
    """The books of one model. Used from the event loop's thread only.

    Args:
        name: the model.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.published: ModelState | None = None
        self.absent = False
        self.slots: dict[int, Slot] = {}
        self.failures: dict[int, Failure] = {}
        self.serving: int | None = None

    @property
    def withdrawn(self) -> bool:
        """Whether the repository says, with words, that nothing is published any more."""
        return self.published is not None and not self.published.versions

    @property
    def visible(self) -> bool:
        """Whether requests for this name get anything but "unknown"."""
        return bool(self.slots or self.failures) or not (self.published is None or self.withdrawn)

    def view(self) -> View:
        """The snapshot that decisions are made from."""
        loaded = tuple(
            Loaded(s.version, s.state, 0 if s.servable is None else s.servable.in_flight, s.for_all)
            for s in self.slots.values()
        )
        return View(self.published, loaded, tuple(self.failures.values()), self.serving)

    def publish(self, state: ModelState) -> None:
        """The repository was read. Failures of versions that are gone are forgotten."""
        self.published = state
        self.absent = False
        self.failures = {v: f for v, f in self.failures.items() if v in state.versions}

    def fail(self, version: int, reason: str, now: float) -> Failure:
        """A version could not be loaded."""
        self.slots.pop(version, None)
        before = self.failures.get(version)
        failure = Failure(version, 1 if before is None else before.attempts + 1, now, reason)
        self.failures[version] = failure
        return failure

    def route(self) -> Route:
        """Where requests go now. Also settles which version answers unversioned ones."""
        view = self.view()
        self.serving = choose_serving(view)
        ready = {v: s.servable for v, s in self.slots.items() if s.state is State.READY and s.servable is not None}
        targets = {} if self.published is None else self.published.aliases
        return Route(
            serving=None if self.serving is None else ready[self.serving],
            versions=ready,
            aliases={alias: ready[v] for alias, v in targets.items() if v in ready},
            targets=dict(targets),
            pending={load.version: self._why(load.version) for load in aspired(view) if load.version not in ready},
        )

    def statuses(self) -> Iterator[VersionStatus]:
        """One status a version that was taken up, failed or should be there, ascending."""
        wanted = {load.version for load in aspired(self.view())}
        for version in sorted(wanted | set(self.slots) | set(self.failures)):
            slot, failure = self.slots.get(version), self.failures.get(version)
            failed = slot is None and failure is not None
            yield VersionStatus(
                name=self.name,
                version=version,
                state=slot.state if slot is not None else State.FAILED if failed else State.LOADING,
                reason=failure.reason if failure is not None and failed else "",
                aliases=self._aliases(version),
                current=version == self.serving,
                manifest=None if slot is None else slot.manifest,
            )

    def _aliases(self, version: int) -> tuple[str, ...]:
        targets = {} if self.published is None else self.published.aliases
        return tuple(sorted(a for a, v in targets.items() if v == version))

    def _why(self, version: int) -> str:
        slot, failure = self.slots.get(version), self.failures.get(version)
        if slot is not None:
            return _WORDS.get(slot.state, slot.state.value)
        return "it waits to be loaded" if failure is None else failure.reason
