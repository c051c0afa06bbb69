"""TensorFlow Serving's REST interface: routes, predict requests and their answers."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

import msgspec
import orjson

from portside.errors import (
    AliasNotFound,
    InvalidRequest,
    InvalidTensor,
    ModelNotFound,
    PortsideError,
    Unsupported,
    VersionNotFound,
)
from portside.model.inference import InferRequest, InferResponse
from portside.model.ref import ModelRef
from portside.model.signature import Signature
from portside.model.tensors import Array, TensorSpec
from portside.protocol import jsontext, tensorjson
from portside.protocol.base import HttpReply, Limits
from portside.protocol.status import error_headers, http_status

SIGNATURE_NAME = "serving_default"
"""The only signature that a model has here."""

_WHICH = r"(?:/versions/([0-9]{1,18})|/labels/([^/:]+))?"
_POST = re.compile(rf"/v1/models/([^/:]+){_WHICH}:(classify|regress|predict)", re.IGNORECASE)
_GET = re.compile(rf"/v1/models(?:/([^/:]+))?{_WHICH}(/metadata)?", re.IGNORECASE)


class Verb(Enum):
    """What a route asks for."""

    PREDICT = "predict"
    STATUS = "status"
    METADATA = "metadata"


class Form(Enum):
    """Which of the two request forms was used; the answer has the same."""

    ROW = "row"
    COLUMNAR = "columnar"


class TfsRoute(msgspec.Struct, frozen=True):
    """An address of this interface.

    Attributes:
        verb: what is asked for.
        ref: which model; a label is an alias.
    """

    verb: Verb
    ref: ModelRef


def match(method: str, path: str) -> TfsRoute | None:
    """Reads an address.

    Returns:
        the route, or ``None`` for an address that is not below ``/v1``.

    Raises:
        InvalidRequest: below ``/v1`` but not an address of this interface, or the wrong verb for it.
        Unsupported: classify and regress.
    """
    if method == "POST" and (found := _POST.fullmatch(path)) is not None:
        name, version, label, verb = found.groups()
        if verb.lower() != "predict":
            raise Unsupported(
                f":{verb} is not offered: it needs a signature over tf.Example, which models have only in TensorFlow; "
                "use :predict with the model's inputs"
            )
        return TfsRoute(Verb.PREDICT, _ref(name, version, label))
    if method == "GET" and (found := _GET.fullmatch(path)) is not None:
        name, version, label, metadata = found.groups()
        if name is None:
            raise InvalidRequest("Missing model name in request. Expected /v1/models/<name>")
        return TfsRoute(Verb.METADATA if metadata else Verb.STATUS, _ref(name, version, label))
    if path[:4].lower() == "/v1/" or path.lower() == "/v1":
        raise InvalidRequest(f"Malformed request: {method} {jsontext.printable(path[:200])}")
    return None


def decode(body: bytes | memoryview, signature: Signature, ref: ModelRef, limits: Limits) -> tuple[InferRequest, Form]:
    """Reads a predict request.

    Returns:
        the request, with exactly the signature's input names, and the form to answer in. Dtypes follow the signature
        except for base64 objects, which give a string tensor; shapes are those of the lists (``Signature.check``
        judges both).

    Raises:
        InvalidRequest: not a predict request.
        InvalidTensor: naming the element that does not fit.
        PayloadTooLarge: too many elements.
    """
    document = jsontext.read_object(body, limits)
    if "signature_name" in document:
        _check_signature_name(document["signature_name"])
    if "instances" in document:
        if "inputs" in document:
            raise InvalidRequest(
                f"JSON Value: {jsontext.shorten(document)} Not formatted correctly expecting only one of "
                "'inputs' or 'instances' keys to exist"
            )
        inputs, form = _rows(document["instances"], signature, limits), Form.ROW
    elif "inputs" in document:
        inputs, form = _columns(document["inputs"], signature, limits), Form.COLUMNAR
    else:
        raise InvalidRequest(
            "Missing 'inputs' or 'instances' key: expected {\"instances\": [...]} or {\"inputs\": ...}"
        )
    return InferRequest(model=ref, inputs=inputs, protocol="tfs-rest"), form


def encode(response: InferResponse, signature: Signature, form: Form) -> HttpReply:
    """Writes the answer to a predict request.

    Raises:
        InvalidRequest: row form, and the outputs do not have one common number of rows.
    """
    if form is Form.ROW:
        return HttpReply(200, b'{\n    "predictions": ' + _predictions(response, signature) + b"\n}")
    return HttpReply(200, b'{\n    "outputs": ' + _outputs(response, signature) + b"\n}")


def encode_error(error: PortsideError, ref: ModelRef | None = None) -> HttpReply:
    """Writes an error; ``ref`` is what was asked for, where an address was read."""
    message = jsontext.printable(_message(error, ref))
    body = b'{\n    "error": ' + orjson.dumps(message) + b"\n}"
    return HttpReply(http_status(error.code), body, headers=error_headers(error))


def _ref(name: str, version: str | None, label: str | None) -> ModelRef:
    return ModelRef(name, None if version is None else int(version), label)


def _check_signature_name(name: object) -> None:
    if type(name) is not str:
        raise InvalidRequest(f"'signature_name' key must be a string value: {jsontext.describe(name)}")
    if name not in {"", SIGNATURE_NAME}:
        raise InvalidRequest(
            f"Serving signature name: {jsontext.shorten(name)} not found in signature def; "
            f'leave it out or use "{SIGNATURE_NAME}"'
        )


def _rows(instances: object, signature: Signature, limits: Limits) -> dict[str, Array]:
    if type(instances) is not list:
        raise InvalidRequest(f"Expecting 'instances' to be an list/array, but got {jsontext.describe(instances)}")
    if not instances:
        raise InvalidRequest("No values in 'instances' array: send at least one")
    if type(instances[0]) is dict and not tensorjson.is_b64(instances[0]):
        return _objects(instances, signature, limits)
    if len(signature.inputs) != 1:
        raise InvalidRequest(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            f"tensorinfo_map: {_names(signature)}"
        )
    spec = signature.inputs[0]
    try:
        return {spec.name: tensorjson.read(instances, spec.dtype, limits.elements)}
    except InvalidTensor as e:
        raise _blame(instances, spec, limits, e) from e


def _objects(instances: list[Any], signature: Signature, limits: Limits) -> dict[str, Array]:
    names = {s.name for s in signature.inputs}
    for index, row in enumerate(instances):
        if type(row) is not dict or row.keys() != names:
            raise InvalidRequest(
                f"Failed to process element: {index} of 'instances' list. JSON object: {jsontext.shorten(row)} "
                f"keys must be equal to: {_names(signature)}"
            )
    arrays: dict[str, Array] = {}
    for spec in signature.inputs:
        column = [row[spec.name] for row in instances]
        try:
            arrays[spec.name] = tensorjson.read(column, spec.dtype, limits.elements)
        except InvalidTensor as e:
            raise _blame(column, spec, limits, e, f" key: {spec.name}") from e
    return arrays


def _blame(column: list[Any], spec: TensorSpec, limits: Limits, cause: InvalidTensor, key: str = "") -> InvalidTensor:
    """Adds to an error which row is the first at fault; found by halving, so that it costs no more than reading."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            tensorjson.read([column[0], *column[low:middle]], spec.dtype, limits.elements)
            low = middle
        except InvalidTensor:
            high = middle
    return InvalidTensor(f"Failed to process element: {low}{key} of 'instances' list. Error: {cause.message}")


def _columns(inputs: object, signature: Signature, limits: Limits) -> dict[str, Array]:
    if type(inputs) is not dict or tensorjson.is_b64(inputs):
        if len(signature.inputs) != 1:
            raise InvalidRequest(
                "inputs is a plain value/list, but expecting an object/map as multiple input tensors required as per "
                f"tensorinfo_map: {_names(signature)}"
            )
        inputs = {signature.inputs[0].name: inputs}
    arrays: dict[str, Array] = {}
    for spec in signature.inputs:
        if spec.name not in inputs:
            raise InvalidRequest(
                f"Missing named input: {spec.name} in 'inputs' object. The model's inputs are {_names(signature)}"
            )
        try:
            arrays[spec.name] = tensorjson.read(inputs[spec.name], spec.dtype, limits.elements)
        except InvalidTensor as e:
            raise InvalidTensor(f"Failed to process key: {spec.name} of 'inputs' object. Error: {e.message}") from e
    if len(inputs) != len(arrays):
        extra = next(name for name in inputs if name not in arrays)
        raise InvalidRequest(
            f"Unexpected input: {jsontext.shorten(extra)} in 'inputs' object. "
            f"The model's inputs are {_names(signature)}"
        )
    return arrays


def _predictions(response: InferResponse, signature: Signature) -> bytes:
    rows: int | None = None
    for name, array in response.outputs.items():
        if array.ndim == 0:
            raise InvalidRequest(f"Tensor name: {name} has no shape information; ask in columnar form ('inputs')")
        rows = len(array) if rows is None else rows
        if len(array) != rows:
            raise InvalidRequest(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {rows}; "
                "ask in columnar form ('inputs')"
            )
    if len(signature.outputs) == 1 and len(response.outputs) == 1:
        return _tensor(*next(iter(response.outputs.items())))
    columns = response.outputs.items()
    return jsontext.dumps(
        [{name: orjson.Fragment(_tensor(name, array[row, ...])) for name, array in columns} for row in range(rows or 0)]
    )


def _outputs(response: InferResponse, signature: Signature) -> bytes:
    if len(signature.outputs) == 1 and len(response.outputs) == 1:
        return _tensor(*next(iter(response.outputs.items())))
    return jsontext.dumps({name: orjson.Fragment(_tensor(name, array)) for name, array in response.outputs.items()})


def _tensor(name: str, array: Array) -> bytes:
    return tensorjson.write(array, b64=name.endswith("_bytes"))


def _names(signature: Signature) -> str:
    return ",".join(s.name for s in signature.inputs)


def _message(error: PortsideError, ref: ModelRef | None) -> str:
    """The message, beginning with the words that clients of this interface look for."""
    if ref is None:
        return error.message
    if isinstance(error, AliasNotFound):
        return f"Unrecognized servable version label: {ref.alias}. {error.message}"
    if isinstance(error, ModelNotFound | VersionNotFound):
        which = f"Latest({ref.name})" if ref.version is None else f"Specific({ref.name}, {ref.version})"
        return f"Servable not found for request: {which}. {error.message}"
    return error.message
