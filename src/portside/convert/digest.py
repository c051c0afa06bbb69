"""Identity of a source: SHA-256 over what it was made from."""

from __future__ import annotations

import hashlib
import json
import mmap
import re
from collections.abc import Iterable
from pathlib import Path

from portside.errors import SourceNotRecognised
from portside.model.source import Source

_LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f]|[\x80-\xff][\x01-\x1f])")
"""How ONNX says where weights lie outside its file: an entry with that key, then the length of the value."""


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
    """SHA-256 of a file's content, or over the sorted names and digests of a folder's files.

    Of an ONNX file that keeps weights in other files, it is over those too. Raises OSError.
    """
    if not path.is_dir():
        own, *others = [_file_digest(each) for each in (path, *external_weights(path))]
        return hashlib.sha256(" ".join([own, *others]).encode()).hexdigest() if others else own
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(f"{_file_digest(file)} {file.relative_to(path).as_posix()}\n".encode())
    return total.hexdigest()


def external_weights(path: Path) -> tuple[Path, ...]:
    """The files below an ONNX file's folder in which it keeps weights, sorted; none for any other file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as f:
        if path.stat().st_size == 0 or (f.read(1) != b"\x08" and path.suffix.lower() != ".onnx"):
            return ()
    # Not by the onnx package: the process of a build must stay small, and the graph may be gigabytes.
    with path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        names = {data[m.end() : m.end() + _varint(m[1])] for m in _LOCATION.finditer(data)}
    folder = path.parent.resolve()
    found = {(folder / name.decode("utf-8", "replace")).resolve() for name in names if b"\0" not in name}
    return tuple(sorted(p for p in found if p.is_relative_to(folder) and p.is_file()))


def _varint(data: bytes) -> int:
    return sum((byte & 0x7F) << 7 * i for i, byte in enumerate(data))


def _file_digest(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
