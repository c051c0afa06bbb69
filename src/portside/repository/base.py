"""The port of a store of published versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from portside.model.manifest import Manifest


class Pin(msgspec.Struct, frozen=True):
    """Holds a model's current version back from the newest one (this is what a rollback writes).

    Attributes:
        version: the version that is current while the pin holds.
        until: the pin lapses as soon as a version above this one is published; ``None``: it holds until released.
    """

    version: int
    until: int | None = None


class ModelState(msgspec.Struct, frozen=True):
    """One consistent look at a model: what is published, and which names point where.

    Attributes:
        name: the model.
        versions: published versions, ascending; empty when all were deleted.
        aliases: alias to version; an alias may point at a version that is gone (then it does not resolve).
        pin: see :class:`Pin`.
    """

    name: str
    versions: tuple[int, ...]
    aliases: Mapping[str, int]
    pin: Pin | None = None

    @property
    def current(self) -> int | None:
        """The version an unversioned request goes to: the pinned one while the pin holds, else the newest."""
        if not self.versions:
            return None
        newest = self.versions[-1]
        pin = self.pin
        if pin is not None and pin.version in self.versions and (pin.until is None or newest <= pin.until):
            return pin.version
        return newest


class Repository(Protocol):
    """Immutable numbered versions of named models. Safe for several processes at once; every read is consistent.

    All methods may block on the disk and may be called from any thread. All raise RepositoryFailed when the store
    cannot be read or written, and InvalidRequest for a name that could leave it.
    """

    def models(self) -> Sequence[str]:
        """Names of the models that have at least one published version, sorted."""

    def state(self, name: str) -> ModelState:
        """What is published under a name. Raises ModelNotFound where nothing ever was."""

    def manifest(self, name: str, version: int) -> Manifest:
        """One version's record. Raises ModelNotFound, VersionNotFound, CorruptArtifact."""

    def folder(self, name: str, version: int) -> Path:
        """Folder that holds one version's files, read-only to the caller. Raises ModelNotFound, VersionNotFound."""

    def publish(self, manifest: Manifest, files: Path, *, force: bool = False) -> Manifest:
        """Publishes the artifact and attachments that ``manifest`` lists, taken from the folder ``files``.

        The version number is assigned here: one above the highest ever used for this name. The version becomes
        visible by one rename; before that nothing of it can be seen, after that all of it is durable.

        Returns:
            the manifest as stored, with its version (and ``forced`` where force was needed).

        Raises:
            VerificationFailed: the manifest's verdict is not ``pass`` and ``force`` is false.
            CorruptArtifact: a file does not have the digest that the manifest states.
        """

    def check(self, name: str, version: int) -> Sequence[str]:
        """Digests every file of a version again; returns what is wrong, one sentence each, empty if nothing."""

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Points an alias at a published version. Raises VersionNotFound, InvalidRequest."""

    def drop_alias(self, name: str, alias: str) -> None:
        """Removes an alias. Raises AliasNotFound."""

    def set_pin(self, name: str, pin: Pin | None) -> None:
        """Pins the current version, or releases it. Raises VersionNotFound."""

    def delete(self, name: str, version: int, *, force: bool = False) -> None:
        """Takes a version away (its number is never used again).

        Raises:
            Conflict: it is current, pinned or has an alias, and ``force`` is false.
        """

    def collect_garbage(self, *, keep: int | None = None, min_age_s: float = 3600.0) -> Sequence[str]:
        """Removes leftovers of interrupted work older than ``min_age_s`` seconds.

        Args:
            keep: if given, also deletes all but the newest ``keep`` versions of each model; current, pinned and
                aliased ones always stay.
            min_age_s: how old a leftover must be, seconds; younger ones may belong to work that is still going on.

        Returns:
            what was removed, one line each.
        """
