"""Copies of a graph with one weight tensor scaled: what the verifier must be able to tell from the original."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from portside.errors import EngineFailed, MissingExtra

FACTOR = 1.5
"""What the weights are multiplied with."""
_WEIGHTED = {
    "Conv": (1,), "ConvTranspose": (1,), "Gemm": (1,), "MatMul": (0, 1), "LSTM": (1, 2), "GRU": (1, 2), "RNN": (1, 2),
    "Gather": (0,), "Einsum": (0, 1), "Mul": (0, 1), "Add": (0, 1),
}  # fmt: skip
"""Operators that have weights, and which of their inputs those are; the likeliest to matter first."""
_EXTERNAL_BYTES = 1_500_000_000


class Spoiled(msgspec.Struct, frozen=True):
    """A spoiled copy.

    Attributes:
        path: the file that an engine opens.
        what: which tensor, and by what it was scaled.
    """

    path: Path
    what: str


def spoiled_copies(path: Path, folder: Path, seed: int) -> Iterator[Spoiled]:
    """Writes copies, each into a folder of its own.

    Args:
        path: an ONNX graph; read with its external weights, not changed.
        folder: where those folders go.
        seed: decides the order in which the tensors are tried.

    Raises:
        MissingExtra: ``onnx`` is not installed.
        EngineFailed: the file is not a readable ONNX graph.
    """
    onnx = _library()
    try:
        proto = onnx.load(str(path))
    except Exception as e:
        raise EngineFailed("the graph cannot be opened to spoil a weight: expected an ONNX file", detail=str(e)) from e
    tensors = _weights(onnx, proto.graph)
    names = _order(proto.graph, tensors, seed)
    for number, name in enumerate(names):
        original = onnx.TensorProto()
        original.CopyFrom(tensors[name])
        array = onnx.numpy_helper.to_array(original)
        tensors[name].CopyFrom(onnx.numpy_helper.from_array((array * FACTOR).astype(array.dtype), original.name))
        yield Spoiled(_save(onnx, proto, folder / str(number)), f"{name} x {FACTOR}")
        tensors[name].CopyFrom(original)
    if not names:
        yield from _scaled_outputs(onnx, proto, folder)


def _library() -> Any:  # noqa: ANN401 -- the library's types are not checked
    try:
        import onnx
    except ImportError as e:
        raise MissingExtra("the verifier's test of itself", "onnx", detail=str(e)) from e
    return onnx


def _weights(onnx: Any, graph: Any) -> dict[str, Any]:  # noqa: ANN401
    """The float tensors of a graph that are not all zero: initializers and constants, by the name nodes use."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for entry in node.attribute if node.op_type == "Constant" else ():
            if entry.name == "value":
                found[node.output[0]] = entry.t
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
    return {
        name: tensor
        for name, tensor in found.items()
        if tensor.data_type in floats and np.any(onnx.numpy_helper.to_array(tensor))
    }


def _order(graph: Any, tensors: dict[str, Any], seed: int) -> list[str]:  # noqa: ANN401
    """Weights of the usual operators in random order, then other operands of arithmetic likewise."""
    first: dict[str, None] = {}
    last: dict[str, None] = {}
    for node in graph.node:
        for index in _WEIGHTED.get(node.op_type, ()):
            if index < len(node.input) and node.input[index] in tensors:
                (last if node.op_type in {"Mul", "Add"} else first)[node.input[index]] = None
    rng = np.random.default_rng(seed)
    others = [name for name in last if name not in first]
    return [str(name) for part in (list(first), others) for name in rng.permutation(part)]


def _scaled_outputs(onnx: Any, proto: Any, folder: Path) -> Iterator[Spoiled]:  # noqa: ANN401
    """For a graph without weights: one output is scaled instead."""
    graph = proto.graph
    for output in graph.output:
        if output.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            continue
        inner = f"{output.name}.unspoiled"
        for node in graph.node:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == output.name:
                        names[index] = inner
        graph.initializer.append(onnx.numpy_helper.from_array(np.float32(FACTOR), f"{output.name}.factor"))
        graph.node.append(onnx.helper.make_node("Mul", [inner, f"{output.name}.factor"], [output.name]))
        yield Spoiled(_save(onnx, proto, folder / "0"), f"output {output.name} x {FACTOR} (the graph has no weights)")
        return


def _save(onnx: Any, proto: Any, folder: Path) -> Path:  # noqa: ANN401
    folder.mkdir()
    path = folder / "spoiled.onnx"
    if proto.ByteSize() <= _EXTERNAL_BYTES:
        path.write_bytes(proto.SerializeToString())
        return path
    onnx.save_model(proto, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location="spoiled.data")
    onnx.load_external_data_for_model(proto, str(folder))
    return path
