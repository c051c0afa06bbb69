"""Runs PyTorch's exporters: the one built on torch.export, and the older one that traces."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portside.convert.stamp import EXPORT_OPSET
from portside.convert.torchsource import Network, Tensors, leaves, torch_library
from portside.model.tensors import TensorSpec

if TYPE_CHECKING:
    import onnx

Exporter = Callable[[Network, Sequence[Any], Path], "onnx.ModelProto"]


def by_capture(network: Network, tensors: Sequence[Any], folder: Path) -> onnx.ModelProto:
    """The exporter built on torch.export, with the declared dimensions kept open. Raises whatever torch raises."""
    torch = torch_library()
    dims = {d: torch.export.Dim(d) for s in network.inputs for d in s.shape if isinstance(d, str)}
    shapes = tuple({i: dims[d] for i, d in enumerate(s.shape) if isinstance(d, str)} for s in network.inputs)
    program = torch.onnx.export(
        flat(network),
        tuple(tensors),
        dynamo=True,
        opset_version=EXPORT_OPSET,
        dynamic_shapes=(shapes,),
        input_names=[s.name for s in network.inputs],
        verbose=False,
    )
    return _saved(program, folder)


def by_trace(network: Network, tensors: Sequence[Any], folder: Path) -> onnx.ModelProto:
    """The older exporter. Raises whatever torch raises."""
    return _trace(flat(network), network.inputs, tensors, folder)


def by_script(network: Network, tensors: Sequence[Any], folder: Path) -> onnx.ModelProto:
    """The older exporter on the script itself, which keeps its branches and loops. Raises whatever torch raises."""
    return _trace(network.module, network.inputs, tensors, folder)


def by_traced_script(network: Network, tensors: Sequence[Any], folder: Path) -> onnx.ModelProto:
    """Traces a wrapper around the script, for scripts that return dictionaries. Raises whatever torch raises."""
    torch = torch_library()
    traced = torch.jit.trace(flat(network), tuple(tensors), check_trace=False)
    return _trace(traced, network.inputs, tensors, folder)


def by_program(network: Network, tensors: Sequence[Any], folder: Path) -> onnx.ModelProto:
    """An exported program as it is. Raises whatever torch raises."""
    del tensors
    torch = torch_library()
    program = torch.onnx.export(network.module, (), dynamo=True, opset_version=EXPORT_OPSET, verbose=False)
    return _saved(program, folder)


def flat(network: Network) -> Any:  # noqa: ANN401 -- an nn.Module
    """The network as a module that takes its inputs in order and returns a tuple of tensors."""
    torch = torch_library()

    class Flat(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = network.module

        def forward(self, *inputs: Any) -> Tensors:  # noqa: ANN401 -- tensors
            return tuple(tensor for _, tensor in leaves(network.call(inputs)))

    return Flat().eval()


def _saved(program: Any, folder: Path) -> onnx.ModelProto:  # noqa: ANN401 -- the library's ONNXProgram
    import onnx

    # through a file, because a model with its weights inside cannot exceed 2 GiB in one piece
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch) / "export.onnx"
        program.save(str(path))
        return onnx.load(str(path))


def _trace(module: Any, inputs: Sequence[TensorSpec], tensors: Sequence[Any], folder: Path) -> onnx.ModelProto:  # noqa: ANN401 -- an nn.Module
    import onnx

    torch = torch_library()
    axes = {s.name: {i: d for i, d in enumerate(s.shape) if isinstance(d, str)} for s in inputs}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch) / "export.onnx"
        torch.onnx.export(
            module,
            tuple(tensors),
            str(path),
            dynamo=False,
            opset_version=EXPORT_OPSET,
            input_names=[s.name for s in inputs],
            dynamic_axes={name: dims for name, dims in axes.items() if dims},
        )
        return onnx.load(str(path))
