"""Copying what is to be published into a folder beside the versions, proving it on the way."""

from __future__ import annotations

from pathlib import Path

from portside.errors import CorruptArtifact
from portside.model.artifact import ArtifactFile, file_entry
from portside.model.manifest import Manifest
from portside.repository.disk import Disk, storing
from portside.repository.layout import files_of


def copy_files(manifest: Manifest, source: Path, staging: Path, disk: Disk) -> None:
    """Copies every file that ``manifest`` lists from ``source`` into ``staging``, and makes the copies durable.

    They are copied and not linked: whoever wrote the source may go on writing it. The digest is taken of the very bytes
    that are written.

    Raises:
        CorruptArtifact: a file is missing, or has not the length or the digest that the manifest states.
        RepositoryFailed: the store cannot be written.
    """
    folders = {staging}
    for file in files_of(manifest):
        target = staging / file.path
        with storing(f"store the files of {manifest.name!r}"):
            disk.make_folder(target.parent)
            folders.update(parent for parent in target.parents if parent.is_relative_to(staging))
            _copy(file, source, target, disk)
    with storing(f"store the files of {manifest.name!r}"):
        for folder in sorted(folders, reverse=True):
            disk.sync(folder)


def _copy(file: ArtifactFile, source: Path, target: Path, disk: Disk) -> None:
    try:
        opened = (source / file.path).open("rb")
    except OSError as e:
        raise CorruptArtifact(
            f"the manifest lists {file.path!r}, which cannot be read ({e.strerror}): build the version again",
            detail=str(source / file.path),
        ) from e
    with opened as f:
        size, digest = disk.copy(f, target)
    if problem := _difference(file, size, digest):
        raise CorruptArtifact(f"{problem}: it changed since it was digested, build the version again")


def check_file(folder: Path, file: ArtifactFile) -> str | None:
    """Digests one stored file again; returns what is wrong as a sentence, or ``None``."""
    path = folder / file.path
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return f"{file.path!r} is a link that leaves the version"
        found = file_entry(folder, file.path)
    except FileNotFoundError:
        return f"{file.path!r} is missing"
    except OSError as e:
        return f"{file.path!r} cannot be read: {e.strerror}"
    return _difference(file, found.size_bytes, found.sha256)


def _difference(file: ArtifactFile, size_bytes: int, sha256: str) -> str | None:
    if size_bytes != file.size_bytes:
        return f"{file.path!r} has {size_bytes} bytes, the manifest says {file.size_bytes}"
    if sha256 != file.sha256:
        return f"{file.path!r} has the SHA-256 {sha256[:12]}…, the manifest says {file.sha256[:12]}…"
    return None
