"""Reads the version numbers of an ONNX file without the ``onnx`` package, which a server does not need."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import msgspec

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_IR_VERSION, _OPSET_IMPORT = 1, 8
_DOMAIN, _VERSION = 1, 2
_MOST_OPSET_BYTES = 1024


class OnnxStamp(msgspec.Struct, frozen=True):
    """Version numbers of an ONNX file.

    Attributes:
        ir_version: of the file format.
        opset: of the standard operators; 0 if the file does not say.
    """

    ir_version: int
    opset: int


def read_stamp(path: Path) -> OnnxStamp | None:
    """Reads the outermost fields of the file, jumping over the graph; ``None`` if they are not an ONNX file's."""
    ir_version = opset = 0
    try:
        with path.open("rb") as f:
            end = f.seek(0, os.SEEK_END)
            f.seek(0)
            while f.tell() < end:
                number, kind = divmod(_varint(f), 8)
                if kind == _VARINT:
                    value = _varint(f)
                    ir_version = value if number == _IR_VERSION else ir_version
                elif kind == _BYTES and number == _OPSET_IMPORT:
                    opset = _opset(f, _varint(f)) or opset
                else:
                    _skip(f, kind, end)
    except (OSError, ValueError):
        return None
    return OnnxStamp(ir_version, opset) if ir_version else None


def _opset(f: BinaryIO, length: int) -> int:
    """The version in one opset entry if it is for the standard domain, else 0."""
    if length > _MOST_OPSET_BYTES:
        raise ValueError("not an opset entry")
    end, domain, version = f.tell() + length, b"", 0
    while f.tell() < end:
        number, kind = divmod(_varint(f), 8)
        if (number, kind) == (_DOMAIN, _BYTES):
            domain = f.read(min(_varint(f), _MOST_OPSET_BYTES))
        elif (number, kind) == (_VERSION, _VARINT):
            version = _varint(f)
        else:
            _skip(f, kind, end)
    return version if domain in {b"", b"ai.onnx"} else 0


def _skip(f: BinaryIO, kind: int, end: int) -> None:
    if kind == _VARINT:
        _varint(f)
        return
    length = {_FIXED64: 8, _FIXED32: 4}.get(kind)
    if length is None:
        if kind != _BYTES:
            raise ValueError("not a protobuf message")
        length = _varint(f)
    if f.tell() + length > end:
        raise ValueError("the message is cut off")
    f.seek(length, os.SEEK_CUR)


def _varint(f: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = f.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("not a number")
