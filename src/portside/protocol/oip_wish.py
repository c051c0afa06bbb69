"""What an Open Inference Protocol request says beside its inputs: parameters, wanted outputs, in which form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from portside.errors import InvalidRequest, Unsupported
from portside.model.signature import Signature
from portside.model.tensors import DType
from portside.protocol import jsontext, oip_tensor

_RESERVED = frozenset({"headers"})
_RESERVED_PREFIX = "triton_"
_SEQUENCE = frozenset({"sequence_id", "sequence_start", "sequence_end"})


class Wish(msgspec.Struct, frozen=True):
    """How the caller wants the outputs.

    Attributes:
        binary: whether outputs come as bytes after the JSON document unless ``outputs`` says otherwise.
        outputs: per output name: whether it comes as bytes.
    """

    binary: bool = False
    outputs: Mapping[str, bool] = MappingProxyType({})

    def wants_bytes(self, name: str) -> bool:
        """Whether one output comes as bytes."""
        return self.outputs.get(name, self.binary)


ALL_JSON = Wish()
ALL_BYTES = Wish(binary=True)


def read_parameters(value: object) -> tuple[float | None, bool]:
    """Reads the request's ``parameters``.

    Returns:
        the timeout in seconds (``None``: none given) and whether outputs come as bytes by default. Parameters that
        mean nothing here are ignored.

    Raises:
        InvalidRequest: of the wrong type, or a reserved name.
        Unsupported: sequences.
    """
    if type(value) is not dict:
        raise InvalidRequest(f"'parameters' is not an object: {jsontext.describe(value)}")
    for name, given in value.items():
        if name in _RESERVED or name.startswith(_RESERVED_PREFIX):
            raise InvalidRequest(
                f"parameter {jsontext.shorten(name)} is reserved and cannot be specified: leave it out"
            )
        if name in _SEQUENCE and given:
            raise Unsupported(f"parameter '{name}': this server has no sequence models; leave it out")
    timeout_us = value.get("timeout", 0)
    if type(timeout_us) is not int or not 0 <= timeout_us < 2**63:
        raise InvalidRequest(
            f"parameter 'timeout' is {jsontext.shorten(timeout_us)}, expected a whole number of microseconds"
        )
    return (timeout_us / 1e6 if timeout_us else None), _flag(value, "binary_data_output", "the request", default=False)


def read_outputs(value: object, *, binary: bool) -> tuple[list[str] | None, Wish]:
    """Reads the list ``outputs`` of a request.

    Args:
        value: the JSON value.
        binary: whether outputs come as bytes by default.

    Returns:
        the wanted names in order (``None`` for all) and their form.

    Raises:
        InvalidRequest: not a list of outputs.
        Unsupported: the classification or shared memory extension.
    """
    if type(value) is not list:
        raise InvalidRequest(f"'outputs' is not a list: {jsontext.describe(value)}")
    names: list[str] = []
    forms: dict[str, bool] = {}
    for entry in value:
        name = entry.get("name") if type(entry) is dict else None
        if type(name) is not str:
            raise InvalidRequest(f"an element of 'outputs' has no 'name' (a string): {jsontext.shorten(entry)}")
        names.append(name)
        forms[name] = _output_form(entry.get("parameters"), name, default=binary)
    return (names or None), Wish(binary, forms)


def check_half(signature: Signature, names: Sequence[str] | None, wish: Wish) -> None:
    """Raises InvalidRequest when a float16 output would have to be written as JSON; before it is computed."""
    for spec in signature.outputs:
        if spec.dtype is DType.FLOAT16 and (names is None or spec.name in names) and not wish.wants_bytes(spec.name):
            raise oip_tensor.no_json(spec.name)


def _output_form(parameters: object, name: str, *, default: bool) -> bool:
    if parameters is None:
        return default
    if type(parameters) is not dict:
        raise InvalidRequest(f"output '{name}': 'parameters' is not an object: {jsontext.describe(parameters)}")
    if parameters.get("classification"):
        raise Unsupported(
            f"output '{name}': the classification extension is not offered; ask for the scores, or use /predict/<model>"
        )
    if "shared_memory_region" in parameters:
        raise Unsupported(f"output '{name}' in shared memory: this server does not offer it; take the data")
    return _flag(parameters, "binary_data", f"output '{name}'", default=default)


def _flag(parameters: dict[str, object], key: str, where: str, *, default: bool) -> bool:
    value = parameters.get(key, default)
    if type(value) is not bool:
        raise InvalidRequest(f"parameter '{key}' of {where} is {jsontext.shorten(value)}, expected true or false")
    return value
