"""JSON of the plain interface: pictures as base64, or tensors by input name; and the parts of its answers."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from portside.errors import InvalidRequest, InvalidTensor, PayloadTooLarge
from portside.model.inference import Prediction
from portside.model.manifest import Manifest
from portside.model.tensors import Array
from portside.protocol import jsontext, tensorjson
from portside.protocol.base import Limits

_LISTS = ("instances", "images")
_ONE = "image"
_SETTINGS = "top_k"


def read_pictures(document: dict[str, object], manifest: Manifest, limits: Limits) -> list[bytes] | None:
    """Reads the pictures of a document: ``instances``, ``images`` (lists) or ``image`` (one), as ``{"b64": ...}``.

    Returns:
        the encoded pictures; ``None`` if the document does not hold pictures (then it holds tensors).

    Raises:
        InvalidRequest: several of the keys, unknown ones, or no picture.
        InvalidTensor: which picture is not base64.
        PayloadTooLarge: more than ``limits.items``.
    """
    names = {s.name for s in manifest.signature.inputs}
    keys = [k for k in (*_LISTS, _ONE) if k in document and not (k in names and _is_numeric(document[k]))]
    if not keys:
        return None
    others = [k for k in document if k != keys[0] and k != _SETTINGS]
    if others:
        raise InvalidRequest(f"unexpected key {jsontext.shorten(others[0])} beside '{keys[0]}'; {expected(manifest)}")
    value = document[keys[0]]
    values = [value] if keys[0] == _ONE else value
    if type(values) is not list or not values:
        raise InvalidRequest(f"'{keys[0]}' is not a list of pictures: {jsontext.describe(value)}; {expected(manifest)}")
    if len(values) > limits.items:
        raise PayloadTooLarge(f"{len(values)} pictures, at most {limits.items} are accepted in a request")
    image = manifest.processing.image
    wrappers = {_ONE, image.input if image is not None else _ONE}
    return [_picture(v, i, wrappers) for i, v in enumerate(values)]


def read_tensors(document: dict[str, object], manifest: Manifest, limits: Limits) -> dict[str, Array]:
    """Reads tensors by input name, at the top or under the key ``inputs``.

    Returns:
        arrays for exactly the model's inputs; shapes are left to ``Signature.check``.

    Raises:
        InvalidRequest: missing or unknown names.
        InvalidTensor: naming the input.
        PayloadTooLarge: too many elements.
    """
    specs = manifest.signature.inputs
    names = {s.name for s in specs}
    tensors: object = document
    if "inputs" in document and "inputs" not in names:
        if len(document) != 1:
            raise InvalidRequest(f"unexpected keys beside 'inputs'; {expected(manifest)}")
        tensors = document["inputs"]
    if type(tensors) is not dict:
        raise InvalidRequest(f"{jsontext.describe(tensors)} does not name the model's inputs; {expected(manifest)}")
    if tensors.keys() != names:
        odd = next((n for n in tensors if n not in names), None)
        missing = ", ".join(f"'{n}'" for n in sorted(names - tensors.keys()))
        what = f"missing input {missing}" if odd is None else f"unexpected key {jsontext.shorten(odd)}"
        raise InvalidRequest(f"{what}; {expected(manifest)}")
    arrays: dict[str, Array] = {}
    for spec in specs:
        try:
            arrays[spec.name] = tensorjson.read(tensors[spec.name], spec.dtype, limits.elements)
        except InvalidTensor as e:
            raise InvalidTensor(f"input '{spec.name}': {e.message}") from None
    return arrays


def expected(manifest: Manifest) -> str:
    """What JSON a model reads, as the end of an error message."""
    forms = [", ".join(f'"{s.name}": [...]' for s in manifest.signature.inputs)]
    text = f"expected {{{forms[0]}}} ({'; '.join(str(s) for s in manifest.signature.inputs)})"
    if manifest.processing.image is not None:
        return f'expected {{"image": {{"b64": "..."}}}}, {{"instances": [{{"b64": "..."}}, ...]}} or {text[9:]}'
    return text


def prediction(value: Prediction) -> dict[str, object]:
    """The answer to one picture, ready for :func:`jsontext.dumps`."""
    if value.outputs and not value.classes:
        return {"outputs": tensors(value.outputs)}
    classes = [{"index": c.index, "label": c.label, "score": jsontext.number(c.score)} for c in value.classes]
    return {"classes": classes}


def tensors(outputs: Mapping[str, Array]) -> dict[str, object]:
    """Outputs by name, ready for :func:`jsontext.dumps`."""
    return {name: orjson.Fragment(tensorjson.write(array)) for name, array in outputs.items()}


def _is_numeric(value: object) -> bool:
    """Whether a value is a tensor of numbers and not pictures, judged by its first element."""
    while type(value) is list and value:
        value = value[0]
    return type(value) is int or type(value) is float


def _picture(value: object, index: int, wrappers: set[str]) -> bytes:
    if type(value) is dict and len(value) == 1 and not tensorjson.is_b64(value):
        key, inner = next(iter(value.items()))
        value = inner if key in wrappers else value
    try:
        data = tensorjson.decode_b64(value)
    except InvalidTensor as e:
        raise InvalidTensor(f"picture {index}: {e.message}") from None
    if not data:
        raise InvalidTensor(f"picture {index} is empty")
    return data
