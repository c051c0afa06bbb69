"""The folder of one build: a folder a step, the report, and what makes a finished step reusable.

::

    <workspace>/recipe.json
    <workspace>/<step>/input.json     what the step was asked to do
    <workspace>/<step>/reproduce.py   does it again, into another folder
    <workspace>/<step>/log.txt        what it printed
    <workspace>/<step>/output.json    its answer, or its error
    <workspace>/<step>/files/         what it made
    <workspace>/<step>/done.json      written last: what it was made from, and the digests of what it made
    <workspace>/report.html, evidence.json
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.machinery
import itertools
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from portside.errors import Conflict, InvalidSettings, RepositoryFailed
from portside.model.artifact import ArtifactFile, file_entry

FILES = "files"
DONE = "done.json"
REPORT = "report.html"
EVIDENCE = "evidence.json"
RECIPE = "recipe.json"

_MOST_FILES = 100_000


class Workspace:
    """Paths inside the folder of one build. Creating the object touches nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    def step(self, name: str) -> Path:
        """The folder of one step."""
        return self.folder / name

    def files(self, name: str) -> Path:
        """The folder with what one step made."""
        return self.folder / name / FILES

    def clear_step(self, name: str) -> Path:
        """An empty folder for one step; what an earlier run left there is gone. Raises RepositoryFailed."""
        folder = self.step(name)
        try:
            # first what says that the rest is complete
            (folder / DONE).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            (folder / FILES).mkdir(parents=True)
        except OSError as e:
            raise RepositoryFailed(f"the build's workspace cannot be written: {e.strerror}", detail=str(e)) from e
        return folder

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keeps other builds out of this folder for as long as the block runs.

        Raises:
            Conflict: another build is at work in it.
            RepositoryFailed: the folder cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as e:
            raise RepositoryFailed(f"the build's workspace cannot be made: {e.strerror}", detail=str(e)) from e
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(
                    "another build is at work in this workspace: wait for it, or give this one another folder",
                    detail=str(self.folder),
                ) from None
            yield
        finally:
            os.close(handle)


def write(path: Path, data: bytes) -> None:
    """Writes a file so that it is there completely or not at all. Raises RepositoryFailed."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as e:
        raise RepositoryFailed(f"the build's workspace cannot be written: {e.strerror}", detail=str(e)) from e


def entries(folder: Path) -> tuple[ArtifactFile, ...]:
    """Every file below a folder with its digest, sorted by path."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return tuple(file_entry(folder, name) for name in names)


def unchanged(folder: Path, files: Iterable[ArtifactFile]) -> bool:
    """Whether every listed file is still there with the listed content."""
    for entry in files:
        path = folder / entry.path
        try:
            if path.stat().st_size != entry.size_bytes or file_entry(folder, entry.path) != entry:
                return False
        except OSError:
            return False
    return True


def digest_path(path: Path, what: str, most_bytes: int | None = None) -> str:
    """SHA-256 over a file, or over all files below a folder with their names.

    Args:
        path: file or folder.
        what: it was given as ("the samples"), for errors.
        most_bytes: in a folder with more than that, sizes and times of change stand for the contents.

    Raises:
        InvalidSettings: there is nothing, it cannot be read, or it is unreasonably many files.
    """
    try:
        if path.is_file():
            return file_entry(path.parent, path.name).sha256
        if not path.is_dir():
            raise InvalidSettings(f"there is no file or folder {str(path)!r}, given as {what}: check the spelling")
        files = list(itertools.islice((p for p in path.rglob("*") if p.is_file()), _MOST_FILES + 1))
        if len(files) > _MOST_FILES:
            raise InvalidSettings(f"{str(path)!r}, given as {what}, has over {_MOST_FILES} files: name a smaller one")
        stats = {each.relative_to(path).as_posix(): each.stat() for each in sorted(files)}
        total = hashlib.sha256()
        brief = most_bytes is not None and sum(stat.st_size for stat in stats.values()) > most_bytes
        for name, stat in stats.items():
            content = f"{stat.st_size} {stat.st_mtime_ns}" if brief else file_entry(path, name).sha256
            total.update(f"{content} {name}\n".encode())
    except OSError as e:
        raise InvalidSettings(f"{str(path)!r}, given as {what}, cannot be read: {e.strerror}", detail=str(e)) from e
    return total.hexdigest()


def digest_module(dotted: str, search: Sequence[str]) -> str:
    """SHA-256 over the Python files of the top-level package of ``dotted``, found without importing it.

    Empty if it is not found; whoever imports it says so better.
    """
    top = dotted.partition(".")[0]
    spec = importlib.machinery.PathFinder.find_spec(top, list(search))
    if spec is None or spec.origin is None:
        return ""
    origin = Path(spec.origin)
    files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    total = hashlib.sha256()
    for each in files[:_MOST_FILES]:
        with contextlib.suppress(OSError):
            total.update(f"{file_entry(each.parent, each.name).sha256} {each.name}\n".encode())
    return total.hexdigest()


def import_paths() -> tuple[str, ...]:
    """Where this process finds modules, and the working folder last: a step has to find the same ones."""
    return (*(p for p in sys.path if p), str(Path.cwd()))
