"""PyTorch to ONNX: ``nn.Module`` with a checkpoint, TorchScript, and exported programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from portside.convert.base import Recognised
from portside.convert.digest import source_digest
from portside.convert.graph import (
    Origin,
    check,
    merge,
    read_specs,
    require_onnx,
    set_interface,
    signature_of,
    write,
)
from portside.convert.interface import observe, output_names, rows_are_independent
from portside.convert.kinds import Kind, look
from portside.convert.quiet import quiet
from portside.convert.shapes import Observed, follow
from portside.convert.stamp import FLOOR, Profile, stamp
from portside.convert.torchexport import Exporter, by_capture, by_program, by_script, by_trace, by_traced_script
from portside.convert.torchprogram import load_program
from portside.convert.torchsource import (
    Network,
    array_of,
    leaves,
    load_module,
    load_script,
    tensors_of,
    torch_library,
)
from portside.errors import ConversionFailed, PortsideError, SourceNotRecognised
from portside.model.signature import Signature
from portside.model.source import Converted, Source
from portside.model.tensors import Array

if TYPE_CHECKING:
    import onnx

_EXPORTERS: Mapping[Kind | None, tuple[tuple[str, Exporter], ...]] = {
    None: (("torch.export", by_capture), ("tracing", by_trace)),
    Kind.TORCHSCRIPT: (("script", by_script), ("tracing", by_traced_script)),
    Kind.EXPORTED_PROGRAM: (("torch.export", by_program),),
}


class Torch2Onnx:
    """Reads PyTorch's formats.

    Args:
        profile: the newest ONNX that may be written.
    """

    def __init__(self, profile: Profile = FLOOR) -> None:
        self._profile = profile

    @property
    def name(self) -> str:
        """``torch2onnx``."""
        return "torch2onnx"

    def recognise(self, source: Source) -> Recognised | None:
        """An import path, a TorchScript archive or an exported program; state dicts and pickles are not."""
        if source.is_import_path:
            return Recognised(f"the PyTorch network {source.location}", self.name, "torch")
        seen = look(Path(source.location))
        return Recognised(seen.what, self.name, "torch") if seen.kind in _EXPORTERS else None

    def convert(self, source: Source, folder: Path) -> Converted:
        """See :meth:`portside.convert.base.Converter.convert`."""
        require_onnx()
        torch_library()
        with quiet(folder) as said:
            try:
                return self._convert(source, folder)
            except PortsideError as e:
                e.detail = "\n".join(filter(None, (e.detail, said.tail()))) or None
                raise

    def reference(self, source: Source, converted: Converted) -> TorchReference:
        """The network in PyTorch itself."""
        torch_library()
        with quiet():
            return TorchReference(_load(source), converted.signature)

    def _convert(self, source: Source, folder: Path) -> Converted:
        network = _load(source)
        own: list[str] = []

        def run(arrays: Mapping[str, Array]) -> Sequence[Array]:
            found = leaves(_answer(network, arrays))
            own[:] = [name for name, _ in found]
            return [array_of(tensor) for _, tensor in found]

        runs, given = observe(run, network.inputs)
        names = output_names(own, source.output_names, network.inputs)
        failures: list[str] = []
        for label, exporter in _EXPORTERS[_kind(source)]:
            try:
                model = exporter(network, tensors_of(network.inputs, given), folder)
                model, signature = _finish(stamp(model, self._profile), network, names, runs)
            except Exception as e:  # noqa: BLE001 -- the next exporter may do it, and all are reported if none does
                said = e.message if isinstance(e, PortsideError) else f"{type(e).__name__}: {e}".strip()
                failures.append(f"{label}: {said[:1500]}")
                continue
            if signature.batch_dim is not None and not rows_are_independent(run, signature, given):
                signature = msgspec.structs.replace(signature, batch_dim=None)
            origin = Origin(network.framework, self.name, source_digest(source, network.code))
            return write(model, folder, signature, origin)
        raise ConversionFailed(
            f"no exporter of PyTorch could turn the network into ONNX ({_reason(failures)})", detail="\n".join(failures)
        )


class TorchReference:
    """A network in PyTorch, without gradients."""

    def __init__(self, network: Network, signature: Signature) -> None:
        self._network = network
        self._outputs = tuple(s.name for s in signature.outputs)

    @property
    def framework(self) -> str:
        """For example ``PyTorch 2.13.0 eager``."""
        return self._network.framework

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See :meth:`portside.convert.base.Reference.run`."""
        try:
            found = leaves(_answer(self._network, inputs))
            return {name: array_of(t) for name, (_, t) in zip(self._outputs, found, strict=True)}
        except Exception as e:  # the user's code: anything may come
            raise ConversionFailed(f"the original network failed: {type(e).__name__}", detail=str(e)) from e

    def set_threads(self, threads: int) -> None:
        """Sets PyTorch's number of threads for the whole process."""
        torch_library().set_num_threads(threads)


def _answer(network: Network, arrays: Mapping[str, Array]) -> object:
    torch = torch_library()
    with torch.inference_mode():
        return network.call(tensors_of(network.inputs, arrays))


def _kind(source: Source) -> Kind | None:
    return None if source.is_import_path else look(Path(source.location)).kind


def _load(source: Source) -> Network:
    if source.is_import_path:
        return load_module(source)
    seen = look(Path(source.location))
    if seen.kind is Kind.TORCHSCRIPT:
        return load_script(source)
    if seen.kind is Kind.EXPORTED_PROGRAM:
        return load_program(source)
    raise SourceNotRecognised(f"{Path(source.location).name!r} is {seen.what}{f': {seen.hint}' if seen.hint else ''}")


def _finish(
    model: onnx.ModelProto, network: Network, names: Sequence[str], runs: Sequence[Observed]
) -> tuple[onnx.ModelProto, Signature]:
    """Names and shapes as they were observed. Raises ConversionFailed if the export contradicts them."""
    inferred = check(model, strict=True)
    written = read_specs(inferred.graph.output, "output")
    if len(written) != len(names):
        raise ConversionFailed(f"the network has {len(names)} outputs, the exported graph {len(written)}")
    outputs = [
        merge(spec, follow(name, i, len(runs[0].shapes[i]), runs), name)
        for i, (spec, name) in enumerate(zip(written, names, strict=True))
    ]
    set_interface(model, network.inputs, outputs)
    check(model, strict=True)
    return model, signature_of(model, network.inputs, outputs)


def _reason(failures: Sequence[str]) -> str:
    """The first line of the first failure: the exporter that is tried first is the one to satisfy."""
    return failures[0].splitlines()[0][:300]
