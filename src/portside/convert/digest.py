"""Identity of a source: SHA-256 over what it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from portside.errors import SourceNotRecognised
from portside.model.source import Source


def source_digest(source: Source, parts: Iterable[bytes] = ()) -> str:
    """SHA-256 of a file, of a folder (paths and contents), or of a callable with its arguments and checkpoint.

    Args:
        source: what is converted.
        parts: further content that belongs to it (the module's source code, its weights).

    Raises:
        SourceNotRecognised: a file cannot be read.
    """
    try:
        if not source.is_import_path:
            return path_digest(Path(source.location))
        total = hashlib.sha256(json.dumps([source.location, source.args, source.kwargs], sort_keys=True).encode())
        if source.checkpoint is not None:
            total.update(path_digest(Path(source.checkpoint)).encode())
        for part in parts:
            total.update(part)
        return total.hexdigest()
    except OSError as e:
        raise SourceNotRecognised(f"the source cannot be read: {e.strerror}", detail=str(e)) from e


def path_digest(path: Path) -> str:
    """SHA-256 of a file's content, or over the sorted names and digests of a folder's files. Raises OSError."""
    if not path.is_dir():
        with path.open("rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(f"{path_digest(file)} {file.relative_to(path).as_posix()}\n".encode())
    return total.hexdigest()
