"""The inputs of an ONNX file: which they are, what they are called, and what the caller declared about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from portside.convert.graph import read_specs
from portside.convert.shapes import BATCH, with_batch
from portside.errors import ConversionFailed, InvalidSettings
from portside.model.tensors import Dim, TensorSpec

if TYPE_CHECKING:
    import onnx


def graph_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a caller has to give: older files list their weights among the inputs too."""
    weights = {t.name for t in model.graph.initializer} | {t.values.name for t in model.graph.sparse_initializer}
    return [value for value in model.graph.input if value.name not in weights]


def own_inputs(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """The specs of a file's inputs, as the file says them; drops weights from its list of inputs.

    Open dimensions without a name at axis 0 are taken for one and the same, the batch.

    Raises:
        ConversionFailed: there are none, or one cannot be served.
    """
    values = graph_inputs(model)
    if not values:
        raise ConversionFailed("the graph has no inputs: there is nothing to ask it")
    for value in values:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value <= 0:
                dim.ClearField("dim_value")
            if axis == 0 and not dim.HasField("dim_value") and not dim.dim_param:
                dim.dim_param = BATCH
    specs = read_specs(values, "input")
    kept = list(values)
    del model.graph.input[:]
    model.graph.input.extend(kept)
    clean = [s.name.removesuffix(":0") for s in specs]
    names = clean if len(set(clean)) == len(clean) and all(clean) else [s.name for s in specs]
    return with_batch(msgspec.structs.replace(s, name=n) for s, n in zip(specs, names, strict=True))


def declared(own: Sequence[TensorSpec], given: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The inputs as the caller declared them, in the file's order; the file's own if nothing was declared.

    Raises:
        InvalidSettings: another number, name, element type or extent than the file has.
    """
    if not given:
        return tuple(own)
    shown = ", ".join(str(s) for s in own)
    by_name = {s.name: s for s in with_batch(given)}
    if len(given) != len(own) or len(by_name) != len(given):
        raise InvalidSettings(f"{len(given)} inputs are declared, the graph has {len(own)}: {shown}")
    if len(own) > 1 and set(by_name) != {s.name for s in own}:
        raise InvalidSettings(f"the declared inputs are {', '.join(by_name)}, those of the graph are {shown}")
    wishes = [by_name[s.name] for s in own] if len(own) > 1 else list(by_name.values())
    for spec, wish in zip(own, wishes, strict=True):
        if not _fits(spec, wish):
            raise InvalidSettings(f"input '{wish}' was declared, but the graph takes '{spec}'")
    return tuple(wishes)


def relaxed(own: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> bool:
    """Whether a dimension that the file fixes is wanted open."""
    pairs = [pair for o, i in zip(own, inputs, strict=True) for pair in zip(o.shape, i.shape, strict=True)]
    return any(isinstance(old, int) and isinstance(new, str) for old, new in pairs)


def _fits(spec: TensorSpec, wish: TensorSpec) -> bool:
    if spec.dtype is not wish.dtype or len(spec.shape) != len(wish.shape):
        return False

    def possible(axis: int, old: Dim, new: Dim) -> bool:
        if isinstance(old, int) and isinstance(new, str):
            # only a batch of one can be opened with any hope: rows are independent there
            return axis == 0 and old == 1 and new == BATCH
        return isinstance(old, str) or old == new

    return all(possible(a, old, new) for a, (old, new) in enumerate(zip(spec.shape, wish.shape, strict=True)))
