"""Reading one version's record and one model's aliases, tolerating nothing that is not exactly ours."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from threading import Lock

import msgspec

from portside.errors import CorruptArtifact, RepositoryFailed
from portside.model.manifest import Manifest, decode_manifest, encode
from portside.repository.base import Pin
from portside.repository.layout import MANIFEST, NAMES, check_files

_MAX_RECORD_BYTES = 64 << 20


class Names(msgspec.Struct, frozen=True):
    """What ``aliases.json`` holds.

    Attributes:
        aliases: alias to version.
        pin: as in :class:`~portside.repository.base.ModelState`.
    """

    aliases: dict[str, int] = {}
    pin: Pin | None = None


class _Stamp(msgspec.Struct, frozen=True):
    inode: int
    modified_ns: int
    size_bytes: int


def read_names(folder: Path) -> Names:
    """The aliases and the pin of the model in ``folder``; none if there is no file.

    Raises:
        RepositoryFailed: the file is not what was written.
        OSError: it cannot be read.
    """
    try:
        data, _ = _read(folder / NAMES)
        return msgspec.json.decode(data, type=Names)
    except FileNotFoundError:
        return Names()
    except (msgspec.MsgspecError, CorruptArtifact) as e:
        raise RepositoryFailed(
            f"the aliases of {folder.name!r} cannot be read: {e}; repair {NAMES} in the model's folder or remove it, "
            "which drops all aliases and the pin",
            detail=str(folder),
        ) from e


def check_storable(manifest: Manifest) -> None:
    """Checks that what would be written can be read again. Raises CorruptArtifact."""
    try:
        decode_manifest(encode(manifest))
    except CorruptArtifact as e:
        raise CorruptArtifact(
            f"the manifest of {manifest.name!r} could not be read again once stored: {e.message}; "
            "no number in it may be infinite or not a number"
        ) from e


class Manifests:
    """Reads manifests, and remembers the last ones: versions do not change. Safe to use from any thread.

    Args:
        capacity: how many are remembered.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._known: dict[Path, tuple[_Stamp, Manifest]] = {}
        self._lock = Lock()

    def read(self, folder: Path) -> Manifest:
        """The manifest of the version in ``folder`` (``…/<model>/<N>``).

        Raises:
            FileNotFoundError: there is none.
            CorruptArtifact: it cannot be read as one, lists files outside the folder, or is another version's.
            OSError: the disk fails.
        """
        path = folder / MANIFEST
        known = self._known.get(folder)
        if known is not None and known[0] == _stamp(path.lstat()):
            return known[1]
        data, stamp = _read(path)
        manifest = decode_manifest(data)
        _check_place(manifest, folder)
        check_files(manifest)
        self._remember(folder, stamp, manifest)
        return manifest

    def _remember(self, folder: Path, stamp: _Stamp, manifest: Manifest) -> None:
        with self._lock:
            self._known.pop(folder, None)
            while len(self._known) >= self._capacity:
                del self._known[next(iter(self._known))]
            self._known[folder] = (stamp, manifest)


def _read(path: Path) -> tuple[bytes, _Stamp]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as e:
        if e.errno == errno.ELOOP:
            raise CorruptArtifact(f"{path.name} is a link: only a plain file is read", detail=str(path)) from e
        raise
    with os.fdopen(fd, "rb") as f:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_RECORD_BYTES:
            raise CorruptArtifact(f"{path.name} is not a plain file of reasonable size", detail=str(path))
        return f.read(), _stamp(status)


def _stamp(status: os.stat_result) -> _Stamp:
    return _Stamp(status.st_ino, status.st_mtime_ns, status.st_size)


def _check_place(manifest: Manifest, folder: Path) -> None:
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise CorruptArtifact(
            f"the record in {folder.parent.name}:{folder.name} is that of {manifest.name}:{manifest.version}: "
            "publish a version under its own name instead of copying its folder",
            detail=str(folder),
        )
