"""Versions in a folder on a local (or mounted) disk."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import msgspec

from portside.errors import (
    AliasNotFound,
    Conflict,
    CorruptArtifact,
    InvalidRequest,
    ModelNotFound,
    RepositoryFailed,
    VerificationFailed,
    VersionNotFound,
)
from portside.model.evidence import Verdict
from portside.model.manifest import Manifest, encode
from portside.model.ref import check_alias, check_name
from portside.repository import layout
from portside.repository.base import ModelState, Pin
from portside.repository.disk import Disk, locked, storing
from portside.repository.reading import Reader, entries, no_version
from portside.repository.records import Names, check_storable
from portside.repository.retention import expendable, holds_on
from portside.repository.staging import check_file, copy_files

_OCCUPIED = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})


class LocalRepository:
    """The :class:`~portside.repository.base.Repository` on a folder; see ``layout`` for how it looks.

    Reading takes no lock. Whatever changes the names in a model's folder does so under the model's lock, for a moment;
    copying and removing files happens outside it.

    Args:
        root: the folder; it is made when something is published for the first time.
        lock_wait_s: how long to wait for another process that changes the same model, seconds.
        disk: carries out the changes.
        now: the wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        root: Path,
        *,
        lock_wait_s: float = 10.0,
        disk: Disk | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._root = root.absolute()
        self._lock_wait_s = lock_wait_s
        self._disk = disk or Disk()
        self._now = now
        self._reader = Reader(self._root)

    def models(self) -> Sequence[str]:
        """Names of the models that have at least one published version, sorted. Raises RepositoryFailed."""
        return self._reader.models()

    def state(self, name: str) -> ModelState:
        """What is published under a name. Raises ModelNotFound, InvalidRequest, RepositoryFailed."""
        return self._reader.state(name)

    def stored(self) -> Sequence[tuple[str, int]]:
        """Every version there is, by name and number; also those whose record is damaged, which nothing else lists.

        Raises:
            RepositoryFailed: the store cannot be read.
        """
        return [(name, version) for name in self._reader.model_names() for version in self._reader.stored(name)]

    def manifest(self, name: str, version: int) -> Manifest:
        """One version's record. Raises ModelNotFound, VersionNotFound, CorruptArtifact."""
        return self._reader.manifest(name, version)

    def folder(self, name: str, version: int) -> Path:
        """The folder of one version. Raises ModelNotFound, VersionNotFound, CorruptArtifact if a file leaves it."""
        folder = self._reader.version_folder(name, version)
        manifest = self.manifest(name, version)
        inside = folder.resolve()
        for file in layout.files_of(manifest):
            if not (folder / file.path).resolve().is_relative_to(inside):
                raise CorruptArtifact(f"{file.path!r} of {name}:{version} is a link that leaves the version")
        return folder

    def check(self, name: str, version: int) -> Sequence[str]:
        """Digests every file of a version again; returns what is wrong. Raises ModelNotFound, VersionNotFound."""
        folder = self._reader.version_folder(name, version)
        try:
            manifest = self.manifest(name, version)
        except CorruptArtifact as e:
            return [e.message]
        problems = [check_file(folder, file) for file in layout.files_of(manifest)]
        return [problem for problem in problems if problem is not None]

    def publish(self, manifest: Manifest, files: Path, *, force: bool = False) -> Manifest:
        """Publishes a version; see the port. Raises VerificationFailed, CorruptArtifact, Conflict, RepositoryFailed."""
        check_name(manifest.name)
        layout.check_files(manifest)
        check_storable(manifest)
        passed = manifest.verdict is Verdict.PASS
        if not passed and not force:
            reasons = "; ".join(manifest.evidence.reasons) or "no reason given"
            raise VerificationFailed(
                f"{manifest.name!r} is not published: its verdict is {manifest.verdict.value} ({reasons}); "
                "repair the build, or publish with force, which marks the version as forced"
            )
        model = self._root / manifest.name
        staging = model / layout.staging_name()
        what = f"publish {manifest.name!r}"
        with storing(what):
            self._make_model_folder(model)
            self._disk.make_folder(staging)
        try:
            # Held so that a garbage collector of any age limit sees that somebody works here.
            with storing(what), locked(staging, self._lock_wait_s):
                copy_files(manifest, files, staging, self._disk)
                return self._commit(msgspec.structs.replace(manifest, forced=not passed), model, staging)
        finally:
            self._remove_quietly(staging)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Points an alias at a version. Raises ModelNotFound, VersionNotFound, InvalidRequest, Conflict."""
        check_alias(alias)
        with self._changing(name) as state:
            self._need(state, version)
            self._write_names(name, Names({**state.aliases, alias: version}, state.pin))

    def drop_alias(self, name: str, alias: str) -> None:
        """Removes an alias. Raises ModelNotFound, AliasNotFound, Conflict."""
        with self._changing(name) as state:
            if alias not in state.aliases:
                known = ", ".join(repr(a) for a in sorted(state.aliases)) or "none"
                raise AliasNotFound(f"{name!r} has no alias {alias!r}: it has {known}")
            rest = {a: v for a, v in state.aliases.items() if a != alias}
            self._write_names(name, Names(rest, state.pin))

    def set_pin(self, name: str, pin: Pin | None) -> None:
        """Pins the current version, or releases it. Raises ModelNotFound, VersionNotFound, Conflict."""
        with self._changing(name) as state:
            if pin is not None:
                self._need(state, pin.version)
            self._write_names(name, Names(dict(state.aliases), pin))

    def delete(self, name: str, version: int, *, force: bool = False) -> None:
        """Takes a version away; aliases and a pin that point at it stay and do not resolve.

        Raises:
            ModelNotFound, VersionNotFound: there is no such version.
            Conflict: it is current, pinned or has an alias, and ``force`` is false.
        """
        folder = self._reader.version_folder(name, version)
        trash = folder.parent / layout.trash_name(version)
        with storing(f"delete {name}:{version}"), locked(folder.parent / layout.LOCK, self._lock_wait_s):
            reasons = self._holds_on(name, version)
            if reasons and not force:
                raise Conflict(f"{name}:{version} is not deleted: {'; '.join(reasons)}; change that, or use force")
            if not folder.exists():
                raise no_version(name, version)
            self._retire(folder.parent, version)
            self._disk.rename(folder, trash)
            self._disk.sync(folder.parent)
        self._remove_quietly(trash)

    def collect_garbage(self, *, keep: int | None = None, min_age_s: float = 3600.0) -> Sequence[str]:
        """Removes leftovers and, if asked to, old versions; see the port. Raises InvalidRequest, RepositoryFailed."""
        if keep is not None and keep < 1:
            raise InvalidRequest(f"keep is {keep}: at least 1 version of each model has to stay")
        removed: list[str] = []
        for folder in [self._root / name for name in self._reader.model_names()]:
            if keep is not None:
                removed += self._delete_old(folder.name, keep)
            with storing(f"collect the garbage of {folder.name!r}"):
                leftovers = [folder / entry for entry in sorted(entries(folder)) if layout.is_leftover(entry)]
                removed += [f"{folder.name}: {path.name}" for path in leftovers if self._collect(path, min_age_s)]
        return removed

    def _commit(self, manifest: Manifest, model: Path, staging: Path) -> Manifest:
        with locked(model / layout.LOCK, self._lock_wait_s):
            version = layout.next_version(entries(model))
            while True:
                stored = msgspec.structs.replace(manifest, version=version)
                self._disk.write(staging / layout.MANIFEST, encode(stored))
                self._disk.sync(staging)
                try:
                    self._disk.rename(staging, model / str(version))
                except OSError as e:
                    if e.errno not in _OCCUPIED:
                        raise
                    # Somebody who does not know the lock put a folder there.
                    self._disk.remove(staging / layout.MANIFEST)
                    version += 1
                    continue
                self._disk.sync(model)
                return stored

    def _make_model_folder(self, model: Path) -> None:
        if not model.is_dir():
            self._disk.make_folder(model)
            self._disk.sync(self._root)
            self._disk.sync(self._root.parent)
        if not self._reader.stays_inside(model):
            raise RepositoryFailed(f"the folder of {model.name!r} is a link that leaves the repository: remove it")

    @contextmanager
    def _changing(self, name: str) -> Iterator[ModelState]:
        folder = self._reader.model_folder(name)
        with storing(f"change {name!r}"), locked(folder / layout.LOCK, self._lock_wait_s):
            yield self.state(name)

    def _write_names(self, name: str, names: Names) -> None:
        folder = self._root / name
        staging = folder / layout.names_staging_name()
        try:
            self._disk.write(staging, encode(names))
            self._disk.rename(staging, folder / layout.NAMES)
        except BaseException:
            self._remove_quietly(staging)
            raise
        self._disk.sync(folder)

    def _retire(self, model: Path, version: int) -> None:
        """Marks the number as used before its folder goes, so that no crash in between sets it free."""
        mark = model / layout.retired_name(version)
        if not mark.exists():
            self._disk.write(mark, b"")
            self._disk.sync(model)
        for outdated in layout.outdated_marks(entries(model)):
            self._disk.remove(model / outdated)

    def _holds_on(self, name: str, version: int) -> Sequence[str]:
        try:
            return holds_on(self.state(name), version)
        except ModelNotFound:
            # No intact version is left; a damaged one may still be taken away.
            return []

    def _delete_old(self, name: str, keep: int) -> list[str]:
        removed: list[str] = []
        try:
            for version in expendable(self.state(name), keep):
                # Somebody may have taken it into use, or away, since.
                with suppress(Conflict, VersionNotFound):
                    self.delete(name, version)
                    removed.append(f"{name}:{version}")
        except ModelNotFound:
            pass
        return removed

    def _collect(self, path: Path, min_age_s: float) -> bool:
        try:
            if self._now() - path.lstat().st_mtime < min_age_s:
                return False
            # Whoever still fills the folder holds its lock.
            with locked(path, 0.0) if path.is_dir() and not path.is_symlink() else nullcontext():
                self._disk.remove(path)
        except (FileNotFoundError, Conflict):
            return False
        return True

    def _remove_quietly(self, path: Path) -> None:
        """What cannot be removed now is a leftover, and the garbage collector's."""
        with suppress(OSError):
            self._disk.remove(path)

    def _need(self, state: ModelState, version: int) -> None:
        if version not in state.versions:
            raise no_version(state.name, version)
