"""The inputs of an ONNX file: which they are, what they are called, and what the caller declared about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from portside.convert.graph import read_specs
from portside.convert.shapes import BATCH, with_batch
from portside.errors import ConversionFailed
from portside.model.tensors import TensorSpec

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


def relaxed(own: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> bool:
    """Whether a dimension that the file fixes is wanted open."""
    pairs = [pair for o, i in zip(own, inputs, strict=True) for pair in zip(o.shape, i.shape, strict=True)]
    return any(isinstance(old, int) and isinstance(new, str) for old, new in pairs)
