"""What a file is, judged by its first bytes, for messages that help."""

from __future__ import annotations

from pathlib import Path

from portside.engine.onnxstamp import read_stamp
from portside.errors import EngineFailed
from portside.model.artifact import Format

_HEAD_BYTES = 64
_SIGNATURES = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras weights?)"),
    (b"PK\x03\x04", "a ZIP archive (a PyTorch or Keras file?)"),
    (b"\x80", "a Python pickle (an old PyTorch checkpoint?)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"<?xml", "XML (an OpenVINO IR?)"),
    (b"<", "markup text"),
    (b"{", "JSON text"),
    (b"version https://git-lfs", "a Git LFS pointer instead of the file it points to"),
)


_ONNX = "an ONNX graph"


def format_of(entry: Path) -> Format:
    """The format that a file's name claims: ``.xml`` is an OpenVINO IR, everything else ONNX."""
    return Format.OPENVINO if entry.suffix == ".xml" else Format.ONNX


def recognised(entry: Path) -> str:
    """A noun phrase for the content of a file: "an empty file", "a ZIP archive …", "an ONNX graph"."""
    try:
        with entry.open("rb") as f:
            head = f.read(_HEAD_BYTES)
    except OSError as e:
        return f"unreadable ({e.strerror or 'unknown reason'})"
    if not head:
        return "an empty file"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model"
    for start, meaning in _SIGNATURES:
        if head.startswith(start):
            return meaning
    # An ONNX file is a protobuf message whose first field is the IR version.
    return _ONNX if head[0] == 0x08 else "a file of no known kind"


def check_kind(runtime: str, entry: Path) -> None:
    """Refuses a file that cannot be what its name claims, before a runtime's parsers guess at it.

    Raises:
        EngineFailed: saying what the file is.
    """
    if format_of(entry) is Format.ONNX and (found := recognised(entry)) != _ONNX:
        raise EngineFailed(
            f"{runtime} cannot load {entry.name!r}: it is {found}; expected an ONNX graph", detail=str(entry)
        )


def cannot_load(runtime: str, entry: Path, cause: Exception) -> EngineFailed:
    """The error for a file that a runtime refused.

    Args:
        runtime: the library and its version, for the sentence.
        entry: the file.
        cause: what the library raised; its words go into the detail.
    """
    found = recognised(entry)
    if found == _ONNX:
        stamp = read_stamp(entry)
        if stamp is None:
            found += " that is damaged or cut off"
        else:
            found += f" of IR version {stamp.ir_version} and opset {stamp.opset}"
    return EngineFailed(
        f"{runtime} cannot load {entry.name!r}: it is {found}; expected a complete model with versions and operators "
        "that this runtime knows",
        detail=f"{entry}: {cause}",
    )
