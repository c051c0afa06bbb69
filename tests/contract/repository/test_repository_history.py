"""Any history of changes leaves a store in the state that the same history leaves a few lines of Python in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from portside.errors import AliasNotFound, Conflict, VersionNotFound
from portside.model.manifest import Manifest
from portside.repository.base import ModelState, Pin, Repository

Make = Callable[..., Manifest]
NUMBERS = st.integers(1, 12)
ALIASES = st.sampled_from(["stable", "canary"])


class History(RuleBasedStateMachine):
    """The store beside its model: the set of versions, the highest number, the aliases and the pin."""

    opened: Callable[[Path], Repository]
    manifest: Manifest
    files: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = type(self).opened(Path(self.folder.name) / "models")
        self.versions: set[int] = set()
        self.highest = 0
        self.aliases: dict[str, int] = {}
        self.pin: Pin | None = None

    def teardown(self) -> None:
        self.folder.cleanup()

    def expected(self) -> ModelState:
        return ModelState("iris", tuple(sorted(self.versions)), self.aliases, self.pin)

    def held(self, version: int) -> bool:
        pinned = self.pin is not None and self.pin.version == version
        return pinned or version in self.aliases.values() or version == self.expected().current

    @rule()
    def publish(self) -> None:
        self.highest += 1
        assert self.store.publish(self.manifest, self.files).version == self.highest
        self.versions.add(self.highest)

    @precondition(lambda self: self.versions)
    @rule(alias=ALIASES, version=NUMBERS)
    def set_alias(self, alias: str, version: int) -> None:
        if version in self.versions:
            self.store.set_alias("iris", alias, version)
            self.aliases[alias] = version
        else:
            with pytest.raises(VersionNotFound):
                self.store.set_alias("iris", alias, version)

    @precondition(lambda self: self.versions)
    @rule(alias=ALIASES)
    def drop_alias(self, alias: str) -> None:
        if alias in self.aliases:
            self.store.drop_alias("iris", alias)
            del self.aliases[alias]
        else:
            with pytest.raises(AliasNotFound):
                self.store.drop_alias("iris", alias)

    @precondition(lambda self: self.versions)
    @rule(version=st.none() | NUMBERS, bounded=st.booleans())
    def set_pin(self, version: int | None, bounded: bool) -> None:  # noqa: FBT001 -- hypothesis passes it by name
        if version is None or version in self.versions:
            pin = None if version is None else Pin(version, self.highest if bounded else None)
            self.store.set_pin("iris", pin)
            self.pin = pin
        else:
            with pytest.raises(VersionNotFound):
                self.store.set_pin("iris", Pin(version))

    @precondition(lambda self: self.versions)
    @rule(version=NUMBERS, force=st.booleans())
    def delete(self, version: int, force: bool) -> None:  # noqa: FBT001 -- hypothesis passes it by name
        if version not in self.versions:
            with pytest.raises(VersionNotFound):
                self.store.delete("iris", version, force=force)
        elif self.held(version) and not force:
            with pytest.raises(Conflict):
                self.store.delete("iris", version)
        else:
            self.store.delete("iris", version, force=force)
            self.versions.discard(version)

    @precondition(lambda self: self.highest)
    @rule(keep=st.none() | st.integers(1, 4))
    def collect(self, keep: int | None) -> None:
        gone = [] if keep is None else [v for v in sorted(self.versions)[:-keep] if not self.held(v)]
        assert self.store.collect_garbage(keep=keep, min_age_s=0.0) == [f"iris:{v}" for v in gone]
        self.versions.difference_update(gone)

    @precondition(lambda self: self.highest)
    @invariant()
    def same(self) -> None:
        if self.versions:
            assert self.store.state("iris") == self.expected()
            assert self.store.models() == ["iris"]
        else:
            assert self.store.models() == []
            assert self.store.state("iris") == self.expected()


def test_any_history(repository: Repository, manifest: Make, files: Path) -> None:
    class Here(History):
        opened = type(repository)

    Here.manifest, Here.files = manifest(), files
    run_state_machine_as_test(Here, settings=settings(max_examples=30, stateful_step_count=25, deadline=None))
