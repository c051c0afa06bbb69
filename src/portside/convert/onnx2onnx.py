"""ONNX to ONNX: checked, stamped, with clean names and a signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from portside.convert.base import Recognised
from portside.convert.digest import source_digest
from portside.convert.graph import Origin, check, infer, read_specs, require_onnx, set_interface, signature_of, write
from portside.convert.interface import declared, observe, output_names, rows_are_independent
from portside.convert.kinds import Kind, look
from portside.convert.onnxfile import load
from portside.convert.onnxinputs import graph_inputs, own_inputs, relaxed
from portside.convert.onnxreference import OnnxReference, evaluate
from portside.convert.quiet import quiet
from portside.convert.shapes import Observed, example, follow, symbols, trials
from portside.convert.stamp import FLOOR, Profile, stamp
from portside.errors import ConversionFailed, InvalidSettings
from portside.model.signature import Signature
from portside.model.source import Converted, Source
from portside.model.tensors import Array, Dim, TensorSpec

if TYPE_CHECKING:
    import onnx


class Onnx2Onnx:
    """Reads ONNX files.

    The reference is the unmodified file in the reference implementation of the ``onnx`` package: independent of every
    engine, and slow (half a second an image for EfficientNet-Lite0).

    Args:
        profile: the newest ONNX that may be written.
    """

    def __init__(self, profile: Profile = FLOOR) -> None:
        self._profile = profile

    @property
    def name(self) -> str:
        """``onnx2onnx``."""
        return "onnx2onnx"

    def recognise(self, source: Source) -> Recognised | None:
        """A protobuf message that starts like an ONNX model."""
        if source.is_import_path:
            return None
        seen = look(Path(source.location))
        return Recognised(seen.what, self.name, "onnx") if seen.kind is Kind.ONNX else None

    def convert(self, source: Source, folder: Path) -> Converted:
        """See :meth:`portside.convert.base.Converter.convert`."""
        require_onnx()
        with quiet(folder):
            original = load(Path(source.location))
            framework = _framework(original)
            _complete(original)
            check(original, strict=False)
            model = stamp(original, self._profile)
            own = own_inputs(model)
            inputs = declared(own, source.inputs, may_open=True)
            opened = relaxed(own, inputs)
            names = output_names([_clean(o.name) for o in model.graph.output], source.output_names, inputs)
            outputs = _outputs(model, inputs, names, opened=opened)
            set_interface(model, inputs, outputs)
            check(model, strict=False)
            signature = signature_of(model, inputs, outputs)
            if opened:
                _prove(load(Path(source.location)), own, model, signature)
            elif signature.batch_dim is not None and not _separable(model, signature):
                signature = msgspec.structs.replace(signature, batch_dim=None)
            return write(model, folder, signature, Origin(framework, self.name, source_digest(source)))

    def reference(self, source: Source, converted: Converted) -> OnnxReference:
        """The unmodified file in the reference implementation."""
        require_onnx()
        with quiet():
            return OnnxReference(load(Path(source.location)), converted.signature)


def _framework(model: onnx.ModelProto) -> str:
    producer = f" by {model.producer_name} {model.producer_version}".rstrip() if model.producer_name else ""
    return f"ONNX IR {model.ir_version}{producer}"


def _complete(model: onnx.ModelProto) -> None:
    """Gives outputs without a shape the one that follows from the graph: runtimes do without, the checker does not."""
    bare = [
        o for o in model.graph.output if o.type.HasField("tensor_type") and not o.type.tensor_type.HasField("shape")
    ]
    if not bare:
        return
    try:
        inferred = {o.name: o for o in infer(model, strict=False).graph.output}
    except Exception:  # noqa: BLE001 -- the checker, which comes next, says what is wrong
        return
    for output in bare:
        output.CopyFrom(inferred[output.name])


def _clean(name: str) -> str:
    return name.removesuffix(":0")


def _outputs(
    model: onnx.ModelProto, inputs: Sequence[TensorSpec], names: Sequence[str], *, opened: bool
) -> list[TensorSpec]:
    """Output specs: inferred from the inputs' shapes, else as the file says, else as the graph is seen to behave."""
    said = [_dims(o) for o in model.graph.output]
    inferred = _inferred(model, inputs)
    known = set(symbols(inputs))
    renamed = _renamed(graph_inputs(model), inputs)
    specs = []
    for i, (name, spec) in enumerate(zip(names, inferred, strict=True)):
        dims: list[Dim | None] = []
        for axis, dim in enumerate(spec.shape):
            old = said[i][axis] if not opened and axis < len(said[i]) else None
            old = renamed.get(old, None) if isinstance(old, str) else old
            dims.append(dim if isinstance(dim, int) or dim in known else old)
        specs.append((name, spec, dims))
    runs = _runs(model, inputs) if known and any(None in dims for _, _, dims in specs) else []
    outputs = []
    for i, (name, spec, dims) in enumerate(specs):
        seen: Sequence[Dim | None] = [None] * len(dims)
        if runs and len(runs[0].shapes[i]) == len(dims):
            # an extent that stayed the same twice may still depend on the data: only symbols are believed
            seen = [d if d in known else None for d in follow(name, i, len(dims), runs)]
        shape = tuple(d or s or f"{name}_{a}" for a, (d, s) in enumerate(zip(dims, seen, strict=True)))
        outputs.append(TensorSpec(name, spec.dtype, shape))
    return outputs


def _dims(value: onnx.ValueInfoProto) -> list[Dim | None]:
    return [
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param or None
        for d in value.type.tensor_type.shape.dim
    ]


def _renamed(values: Sequence[onnx.ValueInfoProto], inputs: Sequence[TensorSpec]) -> dict[str, Dim]:
    """How the dimensions that the file names are called now."""
    return {
        old: new
        for value, spec in zip(values, inputs, strict=True)
        for old, new in zip(_dims(value), spec.shape, strict=True)
        if isinstance(old, str)
    }


def _inferred(model: onnx.ModelProto, inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Output specs by shape inference from these inputs, forgetting what the file says about shapes inside it.

    Raises:
        ConversionFailed: not even the number of an output's dimensions is known.
    """
    from onnx import ModelProto

    bare = ModelProto()
    bare.CopyFrom(model)
    for value, spec in zip(graph_inputs(bare), inputs, strict=True):
        del value.type.tensor_type.shape.dim[:]
        for dim in spec.shape:
            value.type.tensor_type.shape.dim.add(**({"dim_value": dim} if isinstance(dim, int) else {"dim_param": dim}))
    del bare.graph.value_info[:]
    for output in bare.graph.output:
        output.type.tensor_type.ClearField("shape")
    found = infer(bare, strict=False).graph.output
    for value, original in zip(found, model.graph.output, strict=True):
        if not value.type.tensor_type.HasField("shape"):
            value.CopyFrom(original)
    return read_specs(found, "output")


def _runs(model: onnx.ModelProto, inputs: Sequence[TensorSpec]) -> list[Observed]:
    """The graph's behaviour at two sets of extents; nothing if it cannot be run here."""
    names = [v.name for v in graph_inputs(model)]

    def run(arrays: Mapping[str, Array]) -> Sequence[Array]:
        return evaluate(model, {name: arrays[s.name] for name, s in zip(names, inputs, strict=True)})

    try:
        return observe(run, inputs)[0]
    except ConversionFailed:
        return []


def _prove(original: onnx.ModelProto, own: Sequence[TensorSpec], model: onnx.ModelProto, signature: Signature) -> None:
    """Runs the graph with the opened batch axis against the file as it was, row by row.

    Raises:
        InvalidSettings: a fixed extent is built into the graph.
    """
    extents = next(trials(signature.inputs))
    rows = example(signature.inputs, extents)
    names = [v.name for v in graph_inputs(original)]

    def run(arrays: Mapping[str, Array]) -> Sequence[Array]:
        if all(array is rows[name] for name, array in arrays.items()):
            return evaluate(model, arrays)
        return evaluate(original, {n: arrays[s.name] for n, s in zip(names, signature.inputs, strict=True)})

    if signature.batch_dim is None or not rows_are_independent(run, signature, rows):
        raise InvalidSettings(
            "the graph cannot take the dimensions that were declared open: it fixes an extent inside; declare "
            f"{', '.join(str(s) for s in own)}, or export it again with a dynamic batch"
        )


def _separable(model: onnx.ModelProto, signature: Signature) -> bool:
    """Whether rows are independent; yes for a graph that cannot be run here, where only its shapes are known."""
    for extents in trials(signature.inputs):
        rows = example(signature.inputs, extents)
        try:
            evaluate(model, rows)
        except Exception:  # noqa: BLE001, S112 -- custom operators, or extents that do not fit
            continue
        return rows_are_independent(lambda arrays: evaluate(model, arrays), signature, rows)
    return True
