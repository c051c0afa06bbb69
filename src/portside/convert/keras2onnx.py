"""Keras and TensorFlow SavedModel to ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from portside.convert.base import Recognised
from portside.convert.digest import source_digest
from portside.convert.graph import Origin, check, merge, read_specs, require_onnx, set_interface, signature_of, write
from portside.convert.interface import observe, output_names, rows_are_independent
from portside.convert.kerassource import Network, load, set_threads, tensor_specs, tensorflow_library, tensors_of
from portside.convert.kinds import Kind, look
from portside.convert.quiet import quiet
from portside.convert.shapes import follow
from portside.convert.stamp import EXPORT_OPSET, FLOOR, Profile, stamp
from portside.errors import ConversionFailed, MissingExtra, PortsideError
from portside.model.signature import Signature
from portside.model.source import Converted, Source
from portside.model.tensors import Array

if TYPE_CHECKING:
    import onnx

_KINDS = frozenset({Kind.KERAS, Kind.HDF5, Kind.SAVED_MODEL})


class Keras2Onnx:
    """Reads Keras models and SavedModels.

    Args:
        profile: the newest ONNX that may be written.
    """

    def __init__(self, profile: Profile = FLOOR) -> None:
        self._profile = profile

    @property
    def name(self) -> str:
        """``keras2onnx``."""
        return "keras2onnx"

    def recognise(self, source: Source) -> Recognised | None:
        """A ``.keras`` archive, an HDF5 file, or a folder with ``saved_model.pb``."""
        if source.is_import_path:
            return None
        seen = look(Path(source.location))
        return Recognised(seen.what, self.name, "tensorflow") if seen.kind in _KINDS else None

    def convert(self, source: Source, folder: Path) -> Converted:
        """See :meth:`portside.convert.base.Converter.convert`."""
        require_onnx()
        with quiet(folder) as said:
            try:
                return self._convert(source, folder)
            except PortsideError as e:
                e.detail = "\n".join(filter(None, (e.detail, said.tail()))) or None
                raise

    def reference(self, source: Source, converted: Converted) -> KerasReference:
        """The network in TensorFlow itself."""
        with quiet():
            return KerasReference(load(source), converted.signature)

    def _convert(self, source: Source, folder: Path) -> Converted:
        network = load(source)
        counts: list[int] = []

        def run(arrays: Mapping[str, Array]) -> Sequence[Array]:
            answer = [tensor.numpy() for tensor in network.call(tensors_of(network.inputs, arrays))]
            counts[:] = [len(answer)]
            return answer

        runs, given = observe(run, network.inputs)
        own = network.outputs or ("",) * counts[0]
        names = output_names(own, source.output_names, network.inputs)
        model = stamp(_export(network), self._profile)
        written = read_specs(_checked(model).graph.output, "output")
        outputs = [
            merge(spec, follow(name, i, len(runs[0].shapes[i]), runs), name)
            for i, (spec, name) in enumerate(zip(written, names, strict=True))
        ]
        _order_inputs(model, len(network.inputs))
        set_interface(model, network.inputs, outputs)
        check(model, strict=False)
        signature = signature_of(model, network.inputs, outputs)
        if signature.batch_dim is not None and not rows_are_independent(run, signature, given):
            signature = msgspec.structs.replace(signature, batch_dim=None)
        return write(model, folder, signature, Origin(network.framework, self.name, source_digest(source)))


class KerasReference:
    """A network in TensorFlow, outside of any training."""

    def __init__(self, network: Network, signature: Signature) -> None:
        self._network = network
        self._outputs = signature.outputs

    @property
    def framework(self) -> str:
        """For example ``Keras 3.15.1``."""
        return self._network.framework

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See :meth:`portside.convert.base.Reference.run`."""
        try:
            found = self._network.call(tensors_of(self._network.inputs, inputs))
            return {s.name: np.asarray(t.numpy(), s.dtype.numpy) for s, t in zip(self._outputs, found, strict=True)}
        except Exception as e:  # the library raises many kinds
            raise ConversionFailed(f"the original network failed: {type(e).__name__}", detail=str(e)) from e

    def set_threads(self, threads: int) -> None:
        """Sets TensorFlow's threads, if it has not started them yet."""
        set_threads(threads)


def _export(network: Network) -> onnx.ModelProto:
    tf = tensorflow_library()
    try:
        import tf2onnx
    except ImportError as e:
        raise MissingExtra("converting Keras and TensorFlow models", "tensorflow", detail=str(e)) from e
    specs = tensor_specs(network.inputs)

    @tf.function(input_signature=specs)  # type: ignore[untyped-decorator, unused-ignore]
    def function(*tensors: Any) -> list[Any]:  # noqa: ANN401 -- tensors
        # copies, so that an output that is an input, or another output, keeps its own place
        return [tf.identity(tensor) for tensor in network.call(tensors)]

    try:
        model, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=EXPORT_OPSET)
    except Exception as e:  # the library raises many kinds
        raise ConversionFailed(
            f"tf2onnx {tf2onnx.__version__} could not turn the network into ONNX: {type(e).__name__}", detail=str(e)
        ) from e
    # it imports this domain whether or not something uses it
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in {"", *used}]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def _checked(model: onnx.ModelProto) -> onnx.ModelProto:
    """Shape inference, after naming operators that tf2onnx left as they were."""
    from onnx import defs

    known = {schema.name for schema in defs.get_all_schemas()}
    left = sorted({n.op_type for n in model.graph.node if n.domain == "" and n.op_type not in known})
    if left:
        raise ConversionFailed(
            f"the network uses TensorFlow operators that ONNX does not have: {', '.join(left[:8])}; move them out of "
            "the network (into the processing around it) and save it again"
        )
    return check(model, strict=False)


def _order_inputs(model: onnx.ModelProto, count: int) -> None:
    """Puts the inputs, which the export named ``input_0``, ``input_1``, …, back in order; lost ones come back."""
    from onnx import helper

    found = {value.name.removesuffix(":0"): value for value in model.graph.input}
    ordered = [found.get(f"input_{i}") or helper.make_tensor_value_info(f"input_{i}", 1, None) for i in range(count)]
    del model.graph.input[:]
    model.graph.input.extend(ordered)
