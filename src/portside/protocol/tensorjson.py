"""Nested JSON lists to numpy arrays, strictly, and arrays to JSON text.

Lists are walked level by level with whole-list operations, so the cost of a large tensor is that of C loops, and the
nesting of a hostile document never becomes recursion. What exactly is wrong is worked out only once something is.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson

from portside.errors import InvalidTensor, PayloadTooLarge
from portside.model.tensors import Array, DType
from portside.protocol import jsontext

MAX_RANK = 32
"""Most dimensions of a tensor; more than any network has and fewer than numpy refuses."""

_SMALL = 32
"""Up to this many floats, comparing them in Python is cheaper than switching numpy's overflow handling."""

_INTS = frozenset({int})
_FLOATS = frozenset({int, float})
_ACCEPTED: MappingProxyType[DType, frozenset[type]] = MappingProxyType(
    {
        **{d: _FLOATS if d.value.startswith("float") else _INTS for d in DType},
        DType.BOOL: frozenset({bool}),
        DType.STRING: frozenset({str, dict}),
    }
)
_NUMPY = MappingProxyType({d: d.numpy for d in DType})
_LARGEST = MappingProxyType(
    {
        DType.FLOAT16: float(np.finfo(np.float16).max),
        DType.FLOAT32: float(np.finfo(np.float32).max),
        DType.FLOAT64: float(np.finfo(np.float64).max),
    }
)
_TFS_NAMES = MappingProxyType({DType.FLOAT16: "half", DType.FLOAT32: "float", DType.FLOAT64: "double"})


def read(value: object, dtype: DType, max_elements: int) -> Array:
    """A JSON value as an array.

    Args:
        value: nested lists of equal lengths, or one scalar (rank 0).
        dtype: wanted element type. Numbers must be of that kind and range: no strings, booleans or nulls, no decimal
            point in an integer. Strings are text (UTF-8) or ``{"b64": "<base64>"}``.
        max_elements: refuse more elements than this, before anything of that size is allocated.

    Returns:
        an array of the shape of the lists; of ``dtype``, except that all elements being ``b64`` objects gives a string
        tensor whatever ``dtype`` says (encoded pictures; whether the model takes them is decided later).

    Raises:
        InvalidTensor: naming the first element that does not fit.
        PayloadTooLarge: more than ``max_elements``.
    """
    shape, flat = _flatten(value, max_elements)
    types = set(map(type, flat))
    if types <= _ACCEPTED[dtype]:
        if dtype is DType.STRING:
            return _objects([_octets(v) for v in flat], shape)
        return _numbers(flat, dtype, shape)
    if types == {dict} and all(is_b64(v) for v in flat):
        return _objects([_octets(v) for v in flat], shape)
    accepted = _ACCEPTED[dtype]
    raise _unexpected(next(v for v in flat if type(v) not in accepted), dtype)


def is_b64(value: object) -> bool:
    """Whether a JSON value is an object with the only key ``b64``."""
    return type(value) is dict and len(value) == 1 and "b64" in value


def decode_b64(value: object) -> bytes:
    """The bytes of a ``{"b64": "<base64>"}`` object; padding may be missing, line breaks may be there.

    Raises:
        InvalidTensor: another object, or not base64.
    """
    if not (type(value) is dict and is_b64(value)):
        raise InvalidTensor(
            f'{jsontext.describe(value)} is not a base64 object: expected {{"b64": "<base64>"}} and no other key'
        )
    text = value["b64"]
    if type(text) is not str:
        raise InvalidTensor(f"{jsontext.describe(text)} is not of expected type: string (base64 under the key 'b64')")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        text = "".join(text.split()).rstrip("=")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError as e:
        raise InvalidTensor(f"JSON Value: {jsontext.shorten(text)} is not valid base64: {e}") from None


def write(array: Array, *, b64: bool = False) -> bytes:
    """An array as JSON text: nested lists, or one scalar.

    Floats have the shortest form that reads back the same; non-finite ones become the bare tokens ``NaN``,
    ``Infinity`` and ``-Infinity``. Strings are text, or base64 objects when ``b64`` is true or when any of them is not
    UTF-8.
    """
    if array.dtype.kind == "O":
        return orjson.dumps(_strings(array, b64=b64).tolist())
    if array.ndim == 0:
        return write(array.reshape(1), b64=b64)[1:-1]
    try:
        text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:
        native = array.astype(array.dtype.newbyteorder("="))
        text = orjson.dumps(np.ascontiguousarray(native), option=orjson.OPT_SERIALIZE_NUMPY)
    if b"u" in text and array.dtype.kind == "f":
        return _with_tokens(text, array)
    return text


def _flatten(value: object, max_elements: int) -> tuple[list[int], list[Any]]:
    if type(value) is not list:
        return [], [value]
    shape, level = [len(value)], value
    while level and type(level[0]) is list:
        if len(level) == 1:
            level = level[0]
            shape.append(len(level))
        else:
            level = _unnest(level, shape, max_elements)
        if len(shape) > MAX_RANK:
            raise InvalidTensor(f"more than {MAX_RANK} levels of lists in a tensor; send an array of a lower rank")
    if len(level) > max_elements:
        raise _too_many(len(level), max_elements)
    return shape, level


def _unnest(level: list[list[Any]], shape: list[int], max_elements: int) -> list[Any]:
    """One level of lists fewer; appends its extent to ``shape``."""
    if len(set(map(type, level))) != 1:
        odd = next(v for v in level if type(v) is not list)
        raise InvalidTensor(f"{jsontext.describe(odd)} stands beside lists at level: {len(shape)}, expected a list")
    size = len(level[0])
    if len(set(map(len, level))) != 1:
        odd_size = next(len(v) for v in level if len(v) != size)
        raise InvalidTensor(
            f"Encountered list at unexpected size: {odd_size} at level: {len(shape)} expected size: {size}"
        )
    if size * len(level) > max_elements:
        raise _too_many(size * len(level), max_elements)
    shape.append(size)
    return list(chain.from_iterable(level))


def _numbers(flat: list[Any], dtype: DType, shape: list[int]) -> Array:
    kind = _NUMPY[dtype]
    try:
        if kind.kind != "f":
            array = np.array(flat, kind)
        elif len(flat) <= _SMALL:
            largest = _LARGEST[dtype]
            if flat and not (max(flat) <= largest and min(flat) >= -largest):
                _check_range(flat, dtype)
            array = np.array(flat, kind)
        else:
            with np.errstate(over="raise"):
                array = np.array(flat, kind)
    except (OverflowError, FloatingPointError):
        _check_range(flat, dtype)
        raise
    return array if len(shape) == 1 else array.reshape(shape)


def _check_range(flat: list[Any], dtype: DType) -> None:
    """Raises InvalidTensor for the first finite number that ``dtype`` cannot hold; returns if there is none."""
    kind = _NUMPY[dtype]
    if kind.kind == "f":
        low, high = -_LARGEST[DType.FLOAT64], _LARGEST[DType.FLOAT64]
    else:
        low, high = int(np.iinfo(kind.str).min), int(np.iinfo(kind.str).max)
    for value in flat:
        if type(value) is int and not low <= value <= high:
            raise _out_of_range(value, dtype)
    if kind.kind == "f":
        wide = np.array(flat, np.float64)
        with np.errstate(over="ignore"):
            lost = np.isinf(wide.astype(kind)) & np.isfinite(wide)
        if lost.any():
            raise _out_of_range(flat[int(lost.argmax())], dtype)


def _objects(items: Sequence[object], shape: Sequence[int]) -> Array:
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(tuple(shape))


def _octets(value: object) -> bytes:
    if type(value) is not str:
        return decode_b64(value)
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidTensor(f"{jsontext.describe(value)} is not valid Unicode") from None


def _strings(array: Array, *, b64: bool) -> Array:
    """The elements as ``str``, or as base64 objects."""
    items: list[bytes] = [v.encode("utf-8") if isinstance(v, str) else v for v in array.ravel().tolist()]
    if not b64:
        try:
            return _objects([v.decode("utf-8") for v in items], array.shape)
        except UnicodeDecodeError:
            pass
    return _objects([{"b64": binascii.b2a_base64(v, newline=False).decode("ascii")} for v in items], array.shape)


def _with_tokens(text: bytes, array: Array) -> bytes:
    """Replaces the nulls that stand for non-finite numbers by their tokens."""
    flat = array.ravel()
    strange = flat[~np.isfinite(flat)]
    pieces = text.split(b"null")
    tokens = [json.dumps(float(v)).encode() for v in strange]
    return b"".join(chain.from_iterable(zip(pieces, [*tokens, b""], strict=True)))


def _unexpected(value: object, dtype: DType) -> InvalidTensor:
    return InvalidTensor(f"{jsontext.describe(value)} is not of expected type: {_type_name(dtype)}")


def _out_of_range(value: object, dtype: DType) -> InvalidTensor:
    return InvalidTensor(f"{jsontext.describe(value)} is not of expected type: {_type_name(dtype)} (out of range)")


def _type_name(dtype: DType) -> str:
    return _TFS_NAMES.get(dtype, dtype.value)


def _too_many(count: int, most: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"a tensor of {count} elements, at most {most} are accepted in a request; send fewer rows")
