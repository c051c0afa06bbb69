"""Finishes an ONNX graph: names, shapes, checks, files. Every converter ends here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from portside.convert.rename import rename_outputs, rename_values
from portside.convert.shapes import BATCH
from portside.convert.stamp import opset_of
from portside.errors import ConversionFailed, MissingExtra, RepositoryFailed
from portside.model.signature import Signature
from portside.model.source import Converted
from portside.model.tensors import Dim, DType, TensorSpec

if TYPE_CHECKING:
    import onnx

GRAPH = "model.onnx"
"""File name of every converted graph."""
_DATA = "model.onnx.data"
_EMBED_BYTES = 1_500_000_000
_LIGHT_BYTES = 65_536
_TYPES: dict[int, DType] = {
    1: DType.FLOAT32, 2: DType.UINT8, 3: DType.INT8, 4: DType.UINT16, 5: DType.INT16, 6: DType.INT32, 7: DType.INT64,
    8: DType.STRING, 9: DType.BOOL, 10: DType.FLOAT16, 11: DType.FLOAT64, 12: DType.UINT32, 13: DType.UINT64,
}  # fmt: skip
_NUMBERS = {dtype: number for number, dtype in _TYPES.items()}


class Origin(msgspec.Struct, frozen=True):
    """Where a graph came from, for :class:`Converted`."""

    framework: str
    converter: str
    digest: str


def require_onnx() -> None:
    """Raises MissingExtra unless the ``onnx`` package is installed."""
    try:
        import onnx  # noqa: F401 -- only whether it is there
    except ImportError as e:
        raise MissingExtra("converting models", "onnx", detail=str(e)) from e


def read_specs(values: Iterable[onnx.ValueInfoProto], kind: str) -> tuple[TensorSpec, ...]:
    """The specs of graph inputs or outputs; an unnamed dimension is called ``name_axis``.

    Raises:
        ConversionFailed: one of them is not a tensor of a type that can be served, or has no known rank.
    """
    return tuple(_spec(value, kind) for value in values)


def set_interface(model: onnx.ModelProto, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Makes the graph's inputs and outputs those, by position; also drops what was inferred from other shapes.

    A graph that an exporter left without one of the inputs (because nothing depends on it) gets it back by name.
    """
    from onnx import helper

    graph = model.graph
    if len(graph.input) == len(inputs):
        rename_values(graph, {old.name: new.name for old, new in zip(graph.input, inputs, strict=True)})
    rename_outputs(graph, [spec.name for spec in outputs])
    del graph.value_info[:], graph.input[:], graph.output[:]
    for field, specs in ((graph.input, inputs), (graph.output, outputs)):
        field.extend(helper.make_tensor_value_info(s.name, _NUMBERS[s.dtype], list(s.shape)) for s in specs)


def check(model: onnx.ModelProto, *, strict: bool) -> onnx.ModelProto:
    """Runs the checker and shape inference.

    Args:
        model: weights inside.
        strict: a contradiction found by shape inference is an error (it may be a custom operator otherwise).

    Returns:
        a copy with inferred shapes and without large weights.

    Raises:
        ConversionFailed: the graph is not valid.
    """
    import onnx

    try:
        if _size(model) < _EMBED_BYTES:
            onnx.checker.check_model(model)
        return infer(model, strict=strict)
    except Exception as e:  # the checker raises classes of its own
        first = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise ConversionFailed(f"the graph is not valid ONNX: {first}", detail=str(e)) from e


def infer(model: onnx.ModelProto, *, strict: bool) -> onnx.ModelProto:
    """A copy with inferred shapes and without large weights. Raises whatever the library raises."""
    import onnx

    light = onnx.ModelProto()
    light.CopyFrom(model)
    for tensor in light.graph.initializer:
        # inference reads the values of small tensors only (shapes, axes); models over 2 GiB cannot cross into it
        if len(tensor.raw_data) > _LIGHT_BYTES:
            tensor.ClearField("raw_data")
    return onnx.shape_inference.infer_shapes(light, strict_mode=strict, data_prop=True)


def signature_of(model: onnx.ModelProto, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Signature:
    """The signature, with the batch axis only where splitting and joining rows is sure to be right.

    That is: ``batch`` is axis 0 of at least one input and of every output that depends on an input, and stands nowhere
    else.
    """
    specs = (*inputs, *outputs)
    leading = any(s.shape[:1] == (BATCH,) for s in inputs)
    elsewhere = any(BATCH in s.shape[1:] for s in specs)
    dependent = _dependent(model.graph, {s.name for s in inputs})
    mixed = any(s.shape[:1] != (BATCH,) for s in outputs if s.name in dependent)
    return Signature(tuple(inputs), tuple(outputs), BATCH if leading and not elsewhere and not mixed else None)


def merge(graph_spec: TensorSpec, seen: tuple[Dim, ...], name: str) -> TensorSpec:
    """An output's spec from what the graph says and from how the original behaved.

    Raises:
        ConversionFailed: they contradict each other: the exporter fixed an axis that follows the input.
    """
    if len(graph_spec.shape) != len(seen):
        raise ConversionFailed(
            f"output '{name}' has {len(seen)} dimensions in the original and {len(graph_spec.shape)} in the graph"
        )
    dims: list[Dim] = []
    for axis, (written, real) in enumerate(zip(graph_spec.shape, seen, strict=True)):
        if isinstance(written, int) and written != real:
            raise ConversionFailed(
                f"the exporter fixed axis {axis} of output '{name}' at {written}, but in the original it is {real}"
            )
        dims.append(written if isinstance(written, int) else real if isinstance(real, str) else f"{name}_{axis}")
    return TensorSpec(name, graph_spec.dtype, tuple(dims))


def write(model: onnx.ModelProto, folder: Path, signature: Signature, origin: Origin) -> Converted:
    """Writes the graph into ``folder``; weights of 1.5 GB and more go into a file of their own beside it.

    Raises:
        RepositoryFailed: it cannot be written.
    """
    import onnx

    files = [GRAPH]
    try:
        if _size(model) < _EMBED_BYTES:
            onnx.save(model, str(folder / GRAPH))
        else:
            onnx.save(
                model, str(folder / GRAPH), save_as_external_data=True, all_tensors_to_one_file=True, location=_DATA
            )
            files.append(_DATA)
    except OSError as e:
        raise RepositoryFailed(
            f"the converted graph cannot be written ({e.strerror}): make room or choose another folder", detail=str(e)
        ) from e
    return Converted(
        graph=GRAPH,
        files=tuple(files),
        signature=signature,
        framework=origin.framework,
        converter=origin.converter,
        source_digest=origin.digest,
        opset=opset_of(model),
        ir_version=model.ir_version,
    )


def _spec(value: onnx.ValueInfoProto, kind: str) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = _TYPES.get(tensor.elem_type) if value.type.HasField("tensor_type") else None
    if dtype is None:
        raise ConversionFailed(
            f"{kind} '{value.name}' is not a plain tensor (sequences, maps, optionals, bfloat16 and types under 8 bits "
            "cannot be served): change the network's interface"
        )
    if not tensor.HasField("shape"):
        raise ConversionFailed(
            f"{kind} '{value.name}' has no known number of dimensions: export the network again with shapes"
        )
    dims: list[Dim] = []
    for axis, dim in enumerate(tensor.shape.dim):
        named = dim.dim_param.isidentifier()
        dims.append(dim.dim_value if dim.HasField("dim_value") else dim.dim_param if named else f"{value.name}_{axis}")
    return TensorSpec(value.name, dtype, tuple(dims))


def _size(model: onnx.ModelProto) -> int:
    # not ByteSize(): it may fail over 2 GiB, and the weights are what counts
    return sum(len(t.raw_data) for t in model.graph.initializer)


def _dependent(graph: onnx.GraphProto, given: set[str]) -> set[str]:
    """Names of the values that depend on any of ``given``. Subgraphs count as parts of their node."""
    reached = set(given)
    for node in graph.node:
        if reached & _reads(node):
            reached.update(node.output)
    return reached


def _reads(node: onnx.NodeProto) -> set[str]:
    names = set(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names |= _reads(inner)
            names.update(o.name for o in graph.output)
    return names
