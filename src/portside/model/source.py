"""What the user wants converted."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from portside.errors import InvalidSettings
from portside.model.signature import Signature
from portside.model.tensors import Dim, DType, TensorSpec

_INPUT = re.compile(r"(?:(?P<name>[^=\s]+)=)?(?P<dtype>[a-z]+\d*)\[(?P<dims>[^\]]*)\]\Z")


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """A trained model as it lies on disk, or as it is built by an importable callable.

    Attributes:
        location: a file, a folder, or ``package.module:callable`` (the callable returns an ``nn.Module``).
        checkpoint: file with the state dict for an importable module.
        args: positional arguments of the callable (JSON values).
        kwargs: keyword arguments of the callable (JSON values).
        inputs: declared inputs; needed where the source does not say them itself. Symbolic dimensions are dynamic;
            the one at axis 0 is the batch.
        output_names: names for the outputs, where the source has none.
        signature_name: which signature of a SavedModel.
    """

    location: str
    checkpoint: str | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    inputs: tuple[TensorSpec, ...] = ()
    output_names: tuple[str, ...] = ()
    signature_name: str = "serving_default"

    @property
    def is_import_path(self) -> bool:
        """Whether ``location`` names a Python callable rather than a file."""
        return re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", self.location) is not None


class Converted(msgspec.Struct, frozen=True):
    """What a converter hands on. Files lie in the folder it was told to write to.

    Attributes:
        graph: file name of the ONNX graph, relative to that folder.
        files: all files of the graph (external weights included), relative likewise.
        signature: of the graph.
        framework: framework and version that was converted from.
        converter: name of the converter.
        source_digest: SHA-256 of the source.
        opset: ONNX opset.
        ir_version: ONNX IR version.
    """

    graph: str
    files: tuple[str, ...]
    signature: Signature
    framework: str
    converter: str
    source_digest: str
    opset: int
    ir_version: int


def parse_input(text: str) -> TensorSpec:
    """Reads ``x=float32[batch,3,224,224]`` (the name may be left out: then it is ``x``).

    Raises:
        InvalidSettings: with the expected spelling.
    """
    match = _INPUT.fullmatch(text.strip())
    known = ", ".join(d.value for d in DType)
    if match is None:
        raise InvalidSettings(
            f"cannot read input {text!r}: expected NAME=DTYPE[DIM,…], e.g. x=float32[batch,3,224,224]"
        )
    try:
        dtype = DType(match["dtype"])
    except ValueError:
        raise InvalidSettings(f"input {text!r}: unknown element type {match['dtype']!r}; known are {known}") from None
    dims: list[Dim] = []
    for part in filter(None, (p.strip() for p in match["dims"].split(","))):
        if part.isdigit() and int(part) > 0:
            dims.append(int(part))
        elif part.isidentifier():
            dims.append(part)
        else:
            raise InvalidSettings(f"input {text!r}: {part!r} is neither a positive number nor a name for a dimension")
    return TensorSpec(match["name"] or "x", dtype, tuple(dims))


def parse_json_option(text: str, option: str, kind: type) -> Any:  # noqa: ANN401 -- JSON
    """Reads a JSON list or object given as a command-line option. Raises InvalidSettings."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as e:
        raise InvalidSettings(f"{option} is not JSON: {e}") from e
    if not isinstance(value, kind):
        wanted = "a list" if kind is list else "an object"
        raise InvalidSettings(f"{option} must be {wanted} in JSON, not {type(value).__name__}")
    return value
