"""The plain interface: ``POST /predict/<model>`` with a picture, a form or JSON."""

from __future__ import annotations

from collections.abc import Mapping

from portside.errors import (
    InvalidRequest,
    MethodNotAllowed,
    PayloadTooLarge,
    PortsideError,
    RouteNotFound,
    UnsupportedMedia,
)
from portside.model.inference import (
    InferRequest,
    InferResponse,
    PredictRequest,
    PredictResponse,
)
from portside.model.manifest import Manifest
from portside.model.ref import ModelRef
from portside.protocol import jsontext, media, predict_json
from portside.protocol.base import HttpReply, Limits
from portside.protocol.status import error_headers, http_status

_CURLS_DEFAULT = "application/x-www-form-urlencoded"
_PREFIX = "/predict/"
_MAX_TOP_K = 1_000_000


def match(method: str, path: str) -> ModelRef | None:
    """Reads an address: ``/predict/<name>``, ``/predict/<name>:<version or alias>``.

    Returns:
        the model, or ``None`` for an address that is not below ``/predict``.

    Raises:
        RouteNotFound: no model is named.
        InvalidRequest: not a name, version or alias.
        MethodNotAllowed: another verb than POST.
    """
    if not path.startswith(_PREFIX):
        if path == "/predict":
            raise RouteNotFound("no model is named: expected /predict/<model>")
        return None
    if path == _PREFIX:
        raise RouteNotFound("no model is named: expected /predict/<model>")
    ref = ModelRef.parse(jsontext.printable(path[len(_PREFIX) :]))
    if method != "POST":
        raise MethodNotAllowed(f"{method} is not possible here: /predict/<model> takes POST", allowed=("POST",))
    return ref


def decode(
    body: bytes | memoryview,
    headers: Mapping[bytes, bytes],
    manifest: Manifest,
    ref: ModelRef,
    limits: Limits,
    query: bytes = b"",
) -> PredictRequest | InferRequest:
    """Reads a request: pictures for a model with declared image processing, tensors by input name for any model.

    Args:
        body: the whole body.
        headers: names in lower case; ``content-type`` is used. Without one (or with the one that curl sends when
            none is given), a body that begins with ``{`` is JSON and any other is a picture.
        manifest: of the model that answers.
        ref: which model.
        limits: bounds on depth, elements and pictures.
        query: the raw query string; ``top_k`` is used.

    Raises:
        UnsupportedMedia: a content type that this model does not read; the message lists those it does.
        InvalidRequest: malformed.
        InvalidTensor: naming the element that does not fit.
        PayloadTooLarge: too many pictures or elements.
    """
    top_k = _top_k_of_query(query) if query else None
    kind = media.read_type(headers.get(b"content-type", b""))
    name = kind.name
    if name in {"", _CURLS_DEFAULT}:
        name = "application/json" if bytes(body[:64]).lstrip()[:1] == b"{" else "application/octet-stream"
    if name == "application/json":
        return _decode_json(body, manifest, ref, limits, top_k)
    pictures = manifest.processing.image is not None
    if pictures and (name.startswith("image/") or name == "application/octet-stream"):
        if not len(body):
            raise InvalidRequest("the body is empty: expected a picture")
        return PredictRequest(ref, [bytes(body)], top_k)
    if pictures and name == "multipart/form-data":
        return _decode_form(bytes(body), kind.boundary, ref, limits, top_k)
    raise _unsupported(name, ref, pictures=pictures)


def encode(response: PredictResponse | InferResponse) -> HttpReply:
    """Writes an answer: classes or output rows for each picture, or whole outputs by name."""
    document: dict[str, object] = {"model": response.model_name, "version": response.model_version}
    if isinstance(response, PredictResponse):
        document["predictions"] = [predict_json.prediction(p) for p in response.predictions]
    else:
        document["outputs"] = predict_json.tensors(response.outputs)
    return HttpReply(200, jsontext.dumps(document))


def encode_error(error: PortsideError, ref: ModelRef | None = None) -> HttpReply:
    """Writes an error: ``{"error": "<message>", "code": "<stable code>"}``; ``ref`` is not needed here."""
    body = jsontext.dumps({"error": jsontext.printable(error.message), "code": error.code.value})
    return HttpReply(http_status(error.code), body, headers=error_headers(error))


def _decode_json(
    body: bytes | memoryview, manifest: Manifest, ref: ModelRef, limits: Limits, top_k: int | None
) -> PredictRequest | InferRequest:
    document = jsontext.read_object(body, limits)
    if manifest.processing.image is not None:
        pictures = predict_json.read_pictures(document, manifest, limits)
        if pictures is not None:
            return PredictRequest(ref, pictures, _top_k(document["top_k"]) if "top_k" in document else top_k)
    return InferRequest(ref, predict_json.read_tensors(document, manifest, limits), protocol="predict")


def _decode_form(body: bytes, boundary: str | None, ref: ModelRef, limits: Limits, top_k: int | None) -> PredictRequest:
    pictures: list[bytes] = []
    for part in media.read_form(body, boundary, limits.items + 1):
        if part.is_file:
            if not part.data:
                raise InvalidRequest(f"the file of the field {jsontext.shorten(part.name)} is empty")
            pictures.append(part.data)
        elif part.name == "top_k":
            top_k = _top_k(part.data.decode("latin-1"))
        else:
            raise InvalidRequest(
                f"unexpected field {jsontext.shorten(part.name)} in the form: expected files (pictures) and top_k"
            )
    if not pictures:
        raise InvalidRequest("the form holds no file: expected at least one picture")
    if len(pictures) > limits.items:
        raise PayloadTooLarge(f"{len(pictures)} pictures, at most {limits.items} are accepted in a request")
    return PredictRequest(ref, pictures, top_k)


def _top_k_of_query(query: bytes) -> int | None:
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if name == b"top_k":
            return _top_k(value.decode("latin-1"))
    return None


def _top_k(value: object) -> int:
    number = value
    if type(value) is str and value.isascii() and value.isdigit() and len(value) <= 9:
        number = int(value)
    if type(number) is not int or not 1 <= number <= _MAX_TOP_K:
        raise InvalidRequest(f"top_k is {jsontext.shorten(value)}, expected a number from 1 to {_MAX_TOP_K}")
    return number


def _unsupported(name: str, ref: ModelRef, *, pictures: bool) -> UnsupportedMedia:
    takes = "image/*, application/octet-stream (a picture), multipart/form-data, application/json"
    what = f"model '{ref.name}' takes {takes if pictures else 'application/json'}"
    return UnsupportedMedia(f"the Content-Type is {name[:100]!r}, but {what}; set the header Content-Type")
