"""Tensors of the Open Inference Protocol: names of the element types, inputs of a request, JSON data of an output."""

from __future__ import annotations

import math
from types import MappingProxyType

import numpy as np

from portside.errors import InvalidRequest, InvalidTensor, PayloadTooLarge, Unsupported
from portside.model.signature import Signature
from portside.model.tensors import Array, DType, TensorSpec
from portside.protocol import jsontext, oip_binary, tensorjson
from portside.protocol.base import Limits

_NAMES = MappingProxyType(
    {
        **{d: d.value.upper() for d in DType},
        DType.FLOAT16: "FP16",
        DType.FLOAT32: "FP32",
        DType.FLOAT64: "FP64",
        DType.STRING: "BYTES",
    }
)
_DTYPES = MappingProxyType({name: dtype for dtype, name in _NAMES.items()})


def datatype(dtype: DType) -> str:
    """The protocol's name of an element type (``FP32``, ``BYTES``). Total."""
    return _NAMES[dtype]


def read_inputs(
    value: object, signature: Signature, limits: Limits, binary: oip_binary.Cursor | None
) -> dict[str, Array]:
    """Reads the list ``inputs`` of a request.

    Args:
        value: the JSON value.
        signature: names and element types are compared with it; a BYTES tensor passes whatever the signature says
            (encoded pictures; whether the model takes them is decided later).
        limits: bounds the elements of each tensor, before they are allocated.
        binary: the bytes after the JSON document; ``None`` if there are none.

    Returns:
        arrays by input name.

    Raises:
        InvalidRequest: not a list of inputs.
        InvalidTensor: naming the input.
        PayloadTooLarge: too many elements.
        Unsupported: shared memory.
    """
    if type(value) is not list or not value:
        raise InvalidRequest("'inputs' is missing or empty: expected a list of {name, shape, datatype, data}")
    arrays: dict[str, Array] = {}
    for entry in value:
        if type(entry) is not dict:
            raise InvalidRequest(f"an element of 'inputs' is not an object: {jsontext.describe(entry)}")
        name = entry.get("name")
        if type(name) is not str:
            raise InvalidRequest(f"an element of 'inputs' has no 'name' (a string): {jsontext.shorten(entry)}")
        if name in arrays:
            raise InvalidTensor(f"input '{name}' already exists in request: name each input once")
        spec = signature.input(name)
        dtype = _dtype(entry.get("datatype"), spec)
        if dtype is not spec.dtype:
            spec = TensorSpec(name, dtype, spec.shape)
        arrays[name] = _read(entry, spec, limits, binary)
    return arrays


def write_json(name: str, array: Array, dtype: DType) -> bytes:
    """The ``data`` of an output: flat, row-major.

    Raises:
        InvalidRequest: float16, or strings that are not UTF-8, which have no JSON form.
    """
    if dtype is DType.FLOAT16:
        raise no_json(name)
    if dtype is DType.STRING:
        try:
            items = [v if isinstance(v, str) else v.decode("utf-8") for v in array.ravel().tolist()]
        except UnicodeDecodeError:
            raise InvalidRequest(
                f"output '{name}' holds bytes that are not UTF-8 text: ask for it with parameters "
                '{"binary_data": true}'
            ) from None
        return jsontext.dumps(items)
    return tensorjson.write(array if array.ndim == 1 else array.reshape(-1))


def no_json(name: str) -> InvalidRequest:
    """The refusal to write a float16 output as JSON."""
    return InvalidRequest(
        f"output '{name}' is FP16, which has no JSON form: ask for it with parameters {{\"binary_data\": true}}"
    )


def _read(entry: dict[str, object], spec: TensorSpec, limits: Limits, binary: oip_binary.Cursor | None) -> Array:
    shape, count = _shape(entry.get("shape"), spec.name, limits)
    size = _binary_size(entry["parameters"], spec.name) if entry.get("parameters") is not None else None
    if size is not None:
        if binary is None:
            raise InvalidTensor(
                f"input '{spec.name}' has binary_data_size, but the header Inference-Header-Content-Length, which says "
                "where the binary data begins, is missing"
            )
        if "data" in entry:
            raise InvalidTensor(f"input '{spec.name}' has both 'data' and binary_data_size: send one of them")
        return oip_binary.read(binary, size, spec, shape, count)
    if type(entry.get("data")) is not list:
        raise InvalidTensor(f"input '{spec.name}' has no 'data': expected a list of {count} elements")
    if spec.dtype is DType.FLOAT16:
        raise InvalidTensor(f"input '{spec.name}' is FP16, which has no JSON form: send it as binary data")
    try:
        array = tensorjson.read(entry["data"], spec.dtype, limits.elements)
    except InvalidTensor as e:
        raise InvalidTensor(f"input '{spec.name}': {e.message}") from None
    return _shaped(array, shape, spec.name)


def _shaped(array: Array, shape: tuple[int, ...], name: str) -> Array:
    """Flat data in its declared shape; nested data must have it already, up to extents of 1."""
    if array.shape == shape:
        return array
    if array.size != math.prod(shape):
        raise InvalidTensor(
            f"input '{name}' has {array.size} elements in 'data', but its shape {list(shape)} has {math.prod(shape)}"
        )
    if array.ndim > 1 and np.squeeze(array).shape != tuple(extent for extent in shape if extent != 1):
        raise InvalidTensor(
            f"input '{name}' has data nested as {list(array.shape)}, but its shape is {list(shape)}: "
            "send it flat or nested like the shape"
        )
    return array.reshape(shape)


def _dtype(name: object, spec: TensorSpec) -> DType:
    dtype = _DTYPES.get(name) if type(name) is str else None
    if dtype is spec.dtype or dtype is DType.STRING:
        return dtype
    if dtype is None:
        raise InvalidTensor(
            f"input '{spec.name}' has the datatype {jsontext.shorten(name)}, expected '{_NAMES[spec.dtype]}' "
            f"(known are {', '.join(_DTYPES)})"
        )
    raise InvalidTensor(
        f"inference input '{spec.name}' data-type is '{_NAMES[dtype]}', but the model expects '{_NAMES[spec.dtype]}'"
    )


def _shape(value: object, name: str, limits: Limits) -> tuple[tuple[int, ...], int]:
    if type(value) is not list or len(value) > tensorjson.MAX_RANK:
        raise InvalidTensor(
            f"input '{name}' has the shape {jsontext.shorten(value)}, expected a list of at most "
            f"{tensorjson.MAX_RANK} integers"
        )
    count = 1
    for extent in value:
        if type(extent) is not int or extent < 1:
            raise InvalidTensor(
                f"input '{name}' has the shape {jsontext.shorten(value)}: {jsontext.shorten(extent)} is not an extent; "
                "expected integers of at least 1"
            )
        count *= extent
    if count > limits.elements:
        raise PayloadTooLarge(
            f"input '{name}' has the shape {jsontext.shorten(value)}: over the {limits.elements} elements that are "
            "accepted in a request"
        )
    return tuple(value), count


def _binary_size(parameters: object, name: str) -> int | None:
    if type(parameters) is not dict:
        raise InvalidTensor(f"input '{name}': 'parameters' is not an object: {jsontext.describe(parameters)}")
    if "shared_memory_region" in parameters:
        raise Unsupported(f"input '{name}' is in shared memory, which this server does not offer: send the data")
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise InvalidTensor(f"input '{name}' has binary_data_size {jsontext.shorten(size)}, expected a number of bytes")
    return size
