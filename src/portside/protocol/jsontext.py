"""Bounded reading of JSON documents, and writing of them.

Reading takes what orjson takes, and beyond strict JSON the bare tokens ``NaN``, ``Infinity`` and ``-Infinity``, which
TensorFlow Serving and its clients use. Of a repeated key the last one counts.
"""

from __future__ import annotations

import json
import re

import numpy as np
import orjson

from portside.errors import InvalidRequest, PayloadTooLarge
from portside.protocol.base import Limits

MAX_CONTAINERS = 1_000_000
"""Most lists and objects in a document; the three bytes of text that make one cost twenty times that in memory."""

_TOKENS = re.compile(rb"NaN|Infinity")
_STRING = re.compile(rb'"[^"]*"')
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_SHOWN = 200
_CHUNK = 1 << 20

_TYPES = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}


def loads(body: bytes | memoryview, limits: Limits) -> object:
    """Reads one document.

    Args:
        body: UTF-8 text.
        limits: ``json_depth`` is the deepest nesting that is read.

    Returns:
        ``None``, ``bool``, ``int``, ``float``, ``str``, ``list`` or ``dict``; all text is valid Unicode.

    Raises:
        InvalidRequest: empty, not JSON (with the offset), not UTF-8, or nested too deep.
        PayloadTooLarge: more than :data:`MAX_CONTAINERS` lists and objects.
    """
    text = body if isinstance(body, bytes) else bytes(body)
    opened = text.count(b"[") + text.count(b"{")
    if opened > limits.json_depth:
        if opened > MAX_CONTAINERS:
            raise PayloadTooLarge(
                f"a JSON document of {opened} lists and objects, at most {MAX_CONTAINERS} are read; "
                "send fewer rows at a time, or binary data"
            )
        _check_depth(text, limits.json_depth)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as e:
        if _TOKENS.search(text) is None:
            raise _parse_error(text, e.msg, e.pos) from None
        return _loads_tolerant(text)


def read_object(body: bytes | memoryview, limits: Limits) -> dict[str, object]:
    """Like :func:`loads`, for a document that must be an object. Raises InvalidRequest."""
    document = loads(body, limits)
    if type(document) is not dict:
        raise InvalidRequest(f"{describe(document)} is not of expected type: object; send one JSON object")
    return document


def dumps(value: object) -> bytes:
    """Writes a document of plain values and :class:`orjson.Fragment`; text that is not valid Unicode is escaped."""
    return orjson.dumps(value, default=str)


def number(value: float) -> object:
    """A Python float as something :func:`dumps` writes: non-finite values become bare tokens."""
    if value - value == 0:
        return value
    return orjson.Fragment(json.dumps(value))


def printable(text: str) -> str:
    """Text that can always be written as UTF-8: lone surrogates are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def type_name(value: object) -> str:
    """JSON's name for the type of a value, as TensorFlow Serving spells it."""
    if isinstance(value, bool):
        return "True" if value else "False"
    return _TYPES.get(type(value), "Object")


def describe(value: object) -> str:
    """``JSON Value: <shortened text> Type: <type>``, in bounded length whatever the value."""
    return f"JSON Value: {shorten(value)} Type: {type_name(value)}"


def shorten(value: object) -> str:
    """A value as JSON text of at most about 200 characters."""
    text = ""
    if isinstance(value, str):
        value = value[: _SHOWN + 1]
    try:
        for chunk in json.JSONEncoder().iterencode(value):
            text += chunk[: _SHOWN + 1]
            if len(text) > _SHOWN:
                return text[:_SHOWN] + "…"
    except RecursionError:
        # Only where json_depth was set near the interpreter's own limit.
        return text + "…"
    return text


def _parse_error(text: bytes, reason: str, offset: int) -> InvalidRequest:
    if not text.strip():
        return InvalidRequest("JSON Parse error: The document is empty")
    what = reason.partition(": line ")[0].removesuffix(" at")
    return InvalidRequest(f"JSON Parse error: {what} at offset: {offset}")


def _loads_tolerant(text: bytes) -> object:
    try:
        value = json.loads(text.decode("utf-8"))
        if b"\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as e:
        raise _parse_error(text, "the text is not valid UTF-8", e.start) from None
    except UnicodeEncodeError:
        raise InvalidRequest("JSON Parse error: a string holds half of a surrogate pair") from None
    except json.JSONDecodeError as e:
        raise _parse_error(text, e.msg, e.pos) from None
    except (ValueError, RecursionError):
        raise InvalidRequest("JSON Parse error: a number has thousands of digits, or lists nest too deep") from None
    return value


def _check_depth(text: bytes, bound: int) -> None:
    """Raises InvalidRequest when brackets outside of strings nest deeper than ``bound``; linear in the text."""
    # Not one pattern for whole strings: over a string that never ends it would start again at each escaped quote.
    text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = np.frombuffer(_STRING.sub(b"", text.translate(None, _NOT_STRUCTURE)), np.uint8)
    depth = 0
    for start in range(0, len(brackets), _CHUNK):
        piece = brackets[start : start + _CHUNK]
        steps = np.where((piece == ord("[")) | (piece == ord("{")), np.int8(1), np.int8(-1))
        depths = np.cumsum(steps, dtype=np.int64) + depth
        if int(depths.max()) > bound:
            raise InvalidRequest(f"JSON Parse error: more than {bound} levels of nesting; send flatter data")
        depth = int(depths[-1])
