"""Files in one format plus a digest: what the offline steps hand to each other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import Enum
from pathlib import Path

import msgspec


class Format(Enum):
    """Formats that an engine may load."""

    ONNX = "onnx"
    OPENVINO = "openvino-ir"


class ArtifactFile(msgspec.Struct, frozen=True):
    """One file of an artifact.

    Attributes:
        path: relative to the folder that holds the artifact, ``/``-separated, never leaving it.
        size_bytes: length of the file.
        sha256: lower-case hexadecimal digest of its content.
    """

    path: str
    size_bytes: int
    sha256: str


class Artifact(msgspec.Struct, frozen=True):
    """Files in one format.

    Attributes:
        format: what an engine must be able to read.
        entry: the file (among ``files``) that the engine opens.
        files: all files, sorted by path.
    """

    format: Format
    entry: str
    files: tuple[ArtifactFile, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the files' paths and digests: the identity of the artifact."""
        lines = "".join(f"{f.sha256} {f.path}\n" for f in sorted(self.files, key=lambda f: f.path))
        return hashlib.sha256(f"{self.format.value} {self.entry}\n{lines}".encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Total length of the files."""
        return sum(f.size_bytes for f in self.files)

    @staticmethod
    def of(folder: Path, entry: str, files: Iterable[str], kind: Format = Format.ONNX) -> Artifact:
        """Reads and digests ``files`` (relative to ``folder``). Raises OSError if one cannot be read."""
        entries = tuple(file_entry(folder, name) for name in sorted(set(files) | {entry}))
        return Artifact(kind, entry, entries)


def file_entry(folder: Path, name: str) -> ArtifactFile:
    """Digests one file below ``folder``. Raises OSError if it cannot be read."""
    path = folder / name
    with path.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    return ArtifactFile(name, path.stat().st_size, digest)
