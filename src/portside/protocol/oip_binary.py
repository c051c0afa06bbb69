"""The binary tensor extension: tensors as bytes after the JSON document.

Little-endian, row-major, no padding. A boolean is one byte; a string is its length (four bytes) and its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from portside.errors import InvalidRequest, InvalidTensor, PayloadTooLarge
from portside.model.signature import Signature
from portside.model.tensors import Array, DType, TensorSpec
from portside.protocol.base import Limits

_PREFIX = struct.Struct("<I")


class Cursor:
    """Hands out the binary part of a body, in order.

    Args:
        body: the whole body.
        offset: where the binary part begins, bytes.
    """

    def __init__(self, body: bytes | memoryview, offset: int) -> None:
        self.body = body
        self._offset = offset

    def take(self, size: int, name: str) -> int:
        """Moves on by ``size`` bytes and returns where they begin. Raises InvalidTensor if there are fewer."""
        left = len(self.body) - self._offset
        if size > left:
            raise InvalidTensor(
                f"input '{name}' has binary_data_size {size}, but only {left} bytes are left in the body; "
                "send the tensors in the order of 'inputs' after the JSON part"
            )
        offset = self._offset
        self._offset += size
        return offset

    def finish(self) -> None:
        """Raises InvalidRequest if bytes are left that no input asked for."""
        left = len(self.body) - self._offset
        if left:
            raise InvalidRequest(
                f"unexpected {left} bytes after the last tensor: the binary_data_size of the inputs must add up to "
                "what follows the JSON part"
            )


def read(cursor: Cursor, size: int, spec: TensorSpec, shape: Sequence[int], count: int) -> Array:
    """Reads one tensor.

    Args:
        cursor: where it begins.
        size: its length, bytes.
        spec: its name and the element type of the bytes.
        shape: its shape.
        count: the product of ``shape``.

    Returns:
        a read-only view into the body; a copy where the body does not have the alignment of the type.

    Raises:
        InvalidTensor: ``size`` is not what shape and type need, or the content is malformed.
    """
    offset = cursor.take(size, spec.name)
    if spec.dtype is DType.STRING:
        items = _strings(memoryview(cursor.body)[offset : offset + size], spec.name, count)
        array: Array = np.empty(count, object)
        array[:] = items
        return array.reshape(tuple(shape))
    kind = spec.dtype.numpy
    if size != count * kind.itemsize:
        raise InvalidTensor(
            f"input '{spec.name}' has {size} bytes of binary data, but {spec.dtype.value}{list(shape)} takes "
            f"{count * kind.itemsize} ({count} elements of {kind.itemsize} bytes)"
        )
    array = np.frombuffer(cursor.body, kind, count, offset)
    if spec.dtype is DType.BOOL and array.view(np.uint8).max(initial=0) > 1:
        raise InvalidTensor(f"input '{spec.name}' is bool, but holds bytes other than 0 and 1")
    if not array.flags.aligned:
        # Engines may use instructions that need the alignment of the type.
        array = array.copy()
    return array.reshape(tuple(shape))


def read_raw(body: bytes | memoryview, signature: Signature, limits: Limits) -> Array:
    """Reads a body that is nothing but the bytes of the model's single input, as a batch of one.

    At most one dimension beside the batch may be symbolic; it is what the length of the body says.

    Raises:
        InvalidRequest: the model has several inputs, or more unknown dimensions.
        InvalidTensor: the length does not fit.
        PayloadTooLarge: too many elements.
    """
    if len(signature.inputs) != 1:
        raise InvalidRequest(
            f"Inference-Header-Content-Length is 0 (raw data), which is possible for a model with one input; "
            f"this one has {len(signature.inputs)}"
        )
    spec = signature.inputs[0]
    shape: list[int | None] = [
        1 if dim == signature.batch_dim else dim if isinstance(dim, int) else None for dim in spec.shape
    ]
    if spec.dtype is DType.STRING:
        if any(dim not in {None, 1} for dim in shape):
            raise InvalidTensor(f"input '{spec.name}' takes several strings; raw data is one: use JSON or binary data")
        array: Array = np.empty(1, object)
        array[0] = bytes(body)
        return array.reshape((1,) * len(shape))
    return _raw_numbers(body, spec, shape, limits)


def write(array: Array) -> bytes:
    """The bytes of one tensor."""
    if array.dtype.kind != "O":
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    parts: list[bytes] = []
    for item in array.ravel().tolist():
        data = item.encode("utf-8") if isinstance(item, str) else item
        parts += (_PREFIX.pack(len(data)), data)
    return b"".join(parts)


def _raw_numbers(body: bytes | memoryview, spec: TensorSpec, shape: list[int | None], limits: Limits) -> Array:
    unknown = [axis for axis, dim in enumerate(shape) if dim is None]
    if len(unknown) > 1:
        raise InvalidRequest(
            f"raw data cannot say the shape of {spec}: more than one dimension is open; use JSON or binary data"
        )
    step = spec.dtype.numpy.itemsize
    for dim in shape:
        step *= dim or 1
    if unknown:
        shape[unknown[0]] = len(body) // step
    known = [dim or 0 for dim in shape]
    count = len(body) // spec.dtype.numpy.itemsize
    if count > limits.elements:
        raise PayloadTooLarge(f"a tensor of {count} elements, at most {limits.elements} are accepted in a request")
    expected = step * (known[unknown[0]] if unknown else 1)
    if len(body) != expected or not count:
        raise InvalidTensor(
            f"the raw body has {len(body)} bytes, but input {spec} as a batch of one takes "
            f"{'a multiple of ' if unknown else ''}{step} bytes"
        )
    return read(Cursor(body, 0), len(body), spec, known, count)


def _strings(data: memoryview, name: str, count: int) -> list[bytes]:
    items: list[bytes] = []
    at = 0
    while at < len(data) and len(items) < count:
        end = at + 4
        if end > len(data):
            break
        (length,) = _PREFIX.unpack_from(data, at)
        at, end = end, end + length
        if end > len(data):
            raise InvalidTensor(
                f"input '{name}': string {len(items)} says it has {length} bytes, but only {len(data) - at} are left; "
                "each string is a four-byte little-endian length and its bytes"
            )
        items.append(bytes(data[at:end]))
        at = end
    if len(items) != count or at != len(data):
        raise InvalidTensor(
            f"input '{name}': expected {count} strings in {len(data)} bytes of binary data, found {len(items)} strings "
            f"in {at} bytes"
        )
    return items
