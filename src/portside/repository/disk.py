"""The few operations that change a store, each made durable, and the words for when one fails."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from portside.errors import Conflict, RepositoryFailed

_CHUNK_BYTES = 1 << 20
_RETRY_S = 0.005


class Disk:
    """Steps of changing a store. A crash falls before, inside or behind one of them, and each leaves a readable store.

    Stateless, so safe to use from any thread. Every method raises OSError.
    """

    def make_folder(self, path: Path) -> None:
        """Makes a folder, and its parents, where missing."""
        path.mkdir(parents=True, exist_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        """Writes a new file, read-only, and waits until its content is durable."""
        with self._create(path) as f:
            f.write(data)
            _flush(f)

    def copy(self, source: BinaryIO, path: Path) -> tuple[int, str]:
        """Copies into a new file, read-only, and waits until its content is durable.

        Returns:
            the length in bytes and the SHA-256 of what was written.
        """
        digest, size = hashlib.sha256(), 0
        with self._create(path) as f:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += f.write(chunk)
            _flush(f)
        return size, digest.hexdigest()

    def rename(self, old: Path, new: Path) -> None:
        """Renames in one step; a file replaces a file, a folder only an empty folder. Durable after ``sync``."""
        old.rename(new)

    def sync(self, folder: Path) -> None:
        """Waits until the names in a folder are durable."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        """Removes a file or a whole folder; one that is gone already is fine."""
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:
            if path.exists():
                # Somebody else removes the same folder: what both missed is removed now.
                shutil.rmtree(path, ignore_errors=True)

    @staticmethod
    def _create(path: Path) -> BinaryIO:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444), "wb")


def _flush(f: BinaryIO) -> None:
    f.flush()
    os.fsync(f.fileno())


@contextmanager
def locked(path: Path, wait_s: float) -> Iterator[None]:
    """Holds the advisory lock of a file (made where missing) or a folder; the kernel drops it when the holder dies.

    Args:
        path: the file or folder.
        wait_s: how long to wait for it, seconds.

    Raises:
        Conflict: somebody else held it all that time.
        OSError: the file cannot be opened, or the file system knows no locks.
    """
    # A file is opened for writing although nothing is written: network file systems lock no other.
    flags = os.O_RDONLY | os.O_DIRECTORY if path.is_dir() else os.O_RDWR | os.O_CREAT
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + wait_s
        while not _try_lock(fd):
            if time.monotonic() >= deadline:
                raise Conflict(
                    f"the model is being changed by somebody else since {wait_s:g} s: try again later", detail=str(path)
                )
            time.sleep(_RETRY_S)
        yield
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as e:
        # A network file system that locks no folders; there only its age protects one from the garbage collector.
        if e.errno != errno.EBADF:
            raise
    return True


@contextmanager
def storing(what: str) -> Iterator[None]:
    """Turns an OSError of the block into RepositoryFailed; ``what`` completes "cannot …"."""
    try:
        yield
    except OSError as e:
        raise RepositoryFailed(f"cannot {what}: {_reason(e)}", detail=f"{type(e).__name__}: {e}") from e


def _reason(error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            reason = "the disk of the repository is full; free some space (collecting garbage may help) and try again"
        case errno.EFBIG:
            reason = "the file is larger than this process or file system may write; raise the limit and try again"
        case errno.EROFS:
            reason = "the repository is mounted read-only; mount it writable or choose another"
        case errno.EACCES | errno.EPERM:
            reason = "this user has no permission; give it access to the repository or choose another"
        case errno.ENOENT | errno.ENOTDIR | errno.ESTALE:
            reason = "the repository's folder is not there; check that it is mounted and spelled right"
        case errno.ENOLCK | errno.EOPNOTSUPP:
            reason = "the file system has no file locks; choose one that has"
        case _:
            reason = f"{error.strerror or type(error).__name__}; check the disk of the repository"
    return reason
