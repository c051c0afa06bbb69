"""Open Inference Protocol (KServe v2) over REST: routes, infer requests and their answers.

JSON and the binary tensor extension, in both directions; the bytes of binary tensors are read in ``oip_binary``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

import msgspec
import orjson

from portside.errors import (
    InvalidRequest,
    MethodNotAllowed,
    ModelNotFound,
    PortsideError,
    RouteNotFound,
)
from portside.model.inference import InferRequest, InferResponse
from portside.model.ref import ModelRef, check_alias
from portside.model.signature import Signature
from portside.model.tensors import DType
from portside.protocol import jsontext, oip_binary, oip_tensor
from portside.protocol.base import OCTETS, HttpReply, Limits
from portside.protocol.oip_wish import ALL_BYTES, ALL_JSON, Wish, check_half, read_outputs, read_parameters
from portside.protocol.status import error_headers, http_status

HEADER_LENGTH = b"inference-header-content-length"
"""Says how many bytes of a body are JSON; tensors as bytes follow."""

_UNKNOWN = "Request for unknown model:"
_MODEL = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(ready|infer))?")


class Action(Enum):
    """What a route asks for."""

    LIVE = "live"
    READY = "ready"
    SERVER = "server"
    MODEL = "model"
    MODEL_READY = "model ready"
    INFER = "infer"


class OipRoute(msgspec.Struct, frozen=True):
    """An address of this interface.

    Attributes:
        action: what is asked for.
        ref: which model; ``None`` for the server's own addresses.
    """

    action: Action
    ref: ModelRef | None = None


_SERVER_ROUTES = MappingProxyType(
    {
        "/v2": OipRoute(Action.SERVER),
        "/v2/": OipRoute(Action.SERVER),
        "/v2/health/live": OipRoute(Action.LIVE),
        "/v2/health/ready": OipRoute(Action.READY),
    }
)


def match(method: str, path: str) -> OipRoute | None:
    """Reads an address.

    Args:
        method: upper-case verb.
        path: percent-decoded. Where a version number is expected an alias may stand.

    Returns:
        the route, or ``None`` for an address that is not below ``/v2``.

    Raises:
        RouteNotFound: below ``/v2`` but not an address of this interface.
        MethodNotAllowed: the address exists, the verb does not.
        InvalidRequest: neither a version number nor an alias.
    """
    if (found := _MODEL.fullmatch(path)) is not None:
        name, version, what = found.groups()
        action = Action.INFER if what == "infer" else Action.MODEL_READY if what else Action.MODEL
        route = OipRoute(action, _ref(name, version))
    elif (known := _SERVER_ROUTES.get(path)) is not None:
        route = known
    elif path.startswith("/v2/"):
        raise RouteNotFound(
            f"no such address: {jsontext.printable(path[:200])}; there is /v2, /v2/health/live, /v2/health/ready, "
            "/v2/models/<name>[/versions/<version>] and below it /ready and /infer"
        )
    else:
        return None
    verbs = ("POST",) if route.action is Action.INFER else ("GET", "HEAD")
    if method not in verbs:
        raise MethodNotAllowed(
            f"{method} is not possible here: {jsontext.printable(path[:200])} takes {verbs[0]}", allowed=verbs
        )
    return route


def decode(
    body: bytes | memoryview, headers: Mapping[bytes, bytes], signature: Signature, ref: ModelRef, limits: Limits
) -> tuple[InferRequest, Wish]:
    """Reads an infer request: JSON, JSON followed by binary tensors, or one raw tensor (header length 0).

    Args:
        body: the whole body; binary tensors become views into it where their alignment allows.
        headers: names in lower case; ``inference-header-content-length`` is used.
        signature: the model's; dtypes are compared, shapes are left to ``Signature.check``.
        ref: which model.
        limits: bounds on depth and elements.

    Returns:
        the request and how the outputs are wanted.

    Raises:
        InvalidRequest: not an infer request, sizes that do not fit, reserved parameters.
        InvalidTensor: naming the tensor.
        PayloadTooLarge: too many elements.
        Unsupported: an extension that this server does not offer.
    """
    declared = headers.get(HEADER_LENGTH)
    binary: oip_binary.Cursor | None = None
    if declared is not None:
        length = _header_length(declared, len(body))
        if length == 0:
            array = oip_binary.read_raw(body, signature, limits)
            return InferRequest(ref, {signature.inputs[0].name: array}, protocol="oip-rest"), ALL_BYTES
        binary = oip_binary.Cursor(body, length)
        body = memoryview(body)[:length]
    document = jsontext.read_object(body, limits)
    inputs = oip_tensor.read_inputs(document.get("inputs"), signature, limits, binary)
    if binary is not None:
        binary.finish()
    request = InferRequest(ref, inputs, protocol="oip-rest")
    wish = ALL_JSON
    if document.get("parameters") is not None:
        request.timeout_s, all_bytes = read_parameters(document["parameters"])
        wish = ALL_BYTES if all_bytes else ALL_JSON
    if document.get("outputs") is not None:
        request.outputs, wish = read_outputs(document["outputs"], binary=wish.binary)
        signature.check_outputs(request.outputs or ())
    if document.get("id") is not None:
        request.id = _id(document["id"])
    check_half(signature, request.outputs, wish)
    return request, wish


def encode(response: InferResponse, wish: Wish) -> HttpReply:
    """Writes the answer to an infer request.

    Raises:
        InvalidRequest: an output without a JSON form was not wanted as bytes (float16, strings that are not UTF-8).
    """
    outputs: list[dict[str, object]] = []
    tail: list[bytes] = []
    for name, array in response.outputs.items():
        dtype = DType.of(array)
        entry: dict[str, object] = {"name": name, "datatype": oip_tensor.datatype(dtype), "shape": array.shape}
        if wish.wants_bytes(name):
            data = oip_binary.write(array)
            entry["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        else:
            entry["data"] = orjson.Fragment(oip_tensor.write_json(name, array, dtype))
        outputs.append(entry)
    document: dict[str, object] = {"model_name": response.model_name, "model_version": str(response.model_version)}
    if response.id:
        document["id"] = response.id
    document["outputs"] = outputs
    head = jsontext.dumps(document)
    if not tail:
        return HttpReply(200, head)
    length = (HEADER_LENGTH, b"%d" % len(head))
    return HttpReply(200, b"".join((head, *tail)), OCTETS, (length,))


def encode_error(error: PortsideError, ref: ModelRef | None = None) -> HttpReply:
    """Writes an error; ``ref`` is what was asked for, where an address was read."""
    message = error.message
    if ref is not None and isinstance(error, ModelNotFound) and not message.startswith(_UNKNOWN):
        message = f"{_UNKNOWN} '{ref.name}' is not found. {message}"
    body = jsontext.dumps({"error": jsontext.printable(message)})
    return HttpReply(http_status(error.code), body, headers=error_headers(error))


def _ref(name: str, version: str | None) -> ModelRef:
    if version is None:
        return ModelRef(name)
    if version.isascii() and version.isdigit():
        if len(version) > 18:
            raise InvalidRequest(f"{version[:20]}… is not a version number; expected at most 18 digits")
        return ModelRef(name, version=int(version))
    return ModelRef(name, alias=check_alias(version))


def _header_length(declared: bytes, size: int) -> int:
    text = declared.strip()
    if not text.isdigit() or len(text) > 18:
        shown = declared[:40].decode("latin-1")
        raise InvalidRequest(f"Inference-Header-Content-Length is {shown!r}, expected the byte length of the JSON part")
    length = int(text)
    if length > size:
        raise InvalidRequest(
            f"Inference-Header-Content-Length is {length}, but the body has only {size} bytes; "
            "expected the byte length of the JSON part"
        )
    return length


def _id(value: object) -> str:
    if type(value) is not str:
        raise InvalidRequest(f"'id' is not a string: {jsontext.describe(value)}")
    return value
