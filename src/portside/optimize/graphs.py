"""Reading and editing ONNX graphs: the small steps that passes are made of."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from portside.errors import MissingExtra
from portside.model.signature import Signature
from portside.model.tensors import Array, TensorSpec

if TYPE_CHECKING:
    import onnx


def onnx_library() -> Any:  # noqa: ANN401 -- the library's types are not checked
    """The ``onnx`` package. Raises MissingExtra."""
    try:
        import onnx
    except ImportError as e:
        raise MissingExtra("optimising a graph", "onnx", detail=str(e)) from e
    return onnx


class Weights:
    """The constants of a graph: initializers that no caller can override, and ``Constant`` nodes.

    Args:
        graph: stays the caller's; :meth:`put` adds to it.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._to_array = onnx_library().numpy_helper.to_array
        open_names = {i.name for i in graph.input}
        self._tensors = {t.name: t for t in graph.initializer if t.name not in open_names}
        for node in graph.node:
            value = attribute(node, "value")
            if node.op_type == "Constant" and value is not None:
                self._tensors[node.output[0]] = value

    def get(self, name: str) -> Array | None:
        """The value of a constant (read-only), or ``None`` if ``name`` is not one."""
        tensor = self._tensors.get(name)
        return None if tensor is None else np.asarray(self._to_array(tensor))

    def put(self, stem: str, array: Array) -> str:
        """Adds an initializer under a free name that starts with ``stem``; returns the name."""
        name = free_name(self._graph, stem)
        tensor = onnx_library().numpy_helper.from_array(np.ascontiguousarray(array), name)
        self._graph.initializer.append(tensor)
        self._tensors[name] = tensor
        return name


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:  # noqa: ANN401 -- as in the file
    """An attribute's value (text as ``str``), or ``default`` if the node does not have it."""
    for entry in node.attribute:
        if entry.name == name:
            value = onnx_library().helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of the graphs inside them (branches and loop bodies)."""
    for node in graph.node:
        yield node
        for inner in inner_graphs(node):
            yield from all_nodes(inner)


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node holds as attributes."""
    for entry in node.attribute:
        if entry.HasField("g"):
            yield entry.g
        yield from entry.graphs


def uses(graph: onnx.GraphProto) -> Counter[str]:
    """How often each name is read, by nodes of this graph and inner ones, and as an output."""
    count = Counter(name for node in all_nodes(graph) for name in node.input)
    count.update(o.name for o in graph.output)
    for node in all_nodes(graph):
        for inner in inner_graphs(node):
            count.update(o.name for o in inner.output)
    return count


def free_name(graph: onnx.GraphProto, stem: str) -> str:
    """A name that nothing in the graph has: ``stem``, or ``stem.1``, ``stem.2`` …."""
    taken = {name for node in all_nodes(graph) for name in (*node.input, *node.output)}
    taken.update(t.name for t in graph.initializer)
    taken.update(v.name for v in (*graph.input, *graph.output, *graph.value_info))
    if stem not in taken:
        return stem
    number = 1
    while f"{stem}.{number}" in taken:
        number += 1
    return f"{stem}.{number}"


def rename_uses(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Makes every node that reads ``old`` read ``new``, inside inner graphs too."""
    for node in all_nodes(graph):
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
        for inner in inner_graphs(node):
            for output in inner.output:
                if output.name == old:
                    output.name = new


def remove_nodes(graph: onnx.GraphProto, gone: Sequence[onnx.NodeProto]) -> None:
    """Removes nodes by identity, then constants and type notes that nothing uses any more."""
    ids = {id(node) for node in gone}
    for index in reversed(range(len(graph.node))):
        if id(graph.node[index]) in ids:
            del graph.node[index]
    drop_unused_constants(graph)


def drop_unused_constants(graph: onnx.GraphProto) -> None:
    """Removes initializers and ``Constant`` nodes that nothing reads, and notes on values that no longer exist."""
    used = uses(graph)
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if node.op_type == "Constant" and not used[node.output[0]]:
            del graph.node[index]
    inputs = {i.name for i in graph.input}
    for index in reversed(range(len(graph.initializer))):
        name = graph.initializer[index].name
        if not used[name] and name not in inputs:
            del graph.initializer[index]
    made = {name for node in graph.node for name in node.output}
    for index in reversed(range(len(graph.value_info))):
        if graph.value_info[index].name not in made:
            del graph.value_info[index]


def count_nodes(graph: onnx.GraphProto) -> int:
    """Nodes that compute something (``Constant`` does not)."""
    return sum(1 for node in all_nodes(graph) if node.op_type != "Constant")


def fingerprint(proto: onnx.ModelProto) -> str:
    """A digest of everything that determines what the graph computes, also for graphs over protobuf's 2 GB."""
    digest = hashlib.sha256(f"{proto.ir_version} {[(o.domain, o.version) for o in proto.opset_import]}".encode())
    graph = proto.graph
    for parts in (graph.input, graph.output, graph.node, graph.initializer, graph.sparse_initializer, proto.functions):
        for part in parts:
            digest.update(hashlib.sha256(part.SerializeToString(deterministic=True)).digest())
        digest.update(b"|")
    return digest.hexdigest()


def mismatch(proto: onnx.ModelProto, signature: Signature) -> str | None:
    """In what the graph's inputs and outputs differ from a signature (a sentence), or ``None``."""
    constants = {t.name for t in proto.graph.initializer}
    inputs = [i for i in proto.graph.input if i.name not in constants]
    for kind, found, wanted in (
        ("input", inputs, signature.inputs),
        ("output", list(proto.graph.output), signature.outputs),
    ):
        if [f.name for f in found] != [w.name for w in wanted]:
            return f"the graph's {kind}s are {[f.name for f in found]}, expected {[w.name for w in wanted]}"
        for value, spec in zip(found, wanted, strict=True):
            reason = _differs(value, spec)
            if reason is not None:
                return f"the graph's {kind} '{spec.name}' {reason}, expected {spec}"
    return None


def _differs(value: onnx.ValueInfoProto, spec: TensorSpec) -> str | None:
    tensor = value.type.tensor_type
    dtype = onnx_library().helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    if dtype != spec.dtype.numpy:
        return f"is {dtype}"
    if not tensor.HasField("shape"):
        return None
    dims = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    fixed = [d if isinstance(d, int) else None for d in spec.shape]
    # A graph may leave open what the signature knows to be fixed, not the other way round.
    if len(dims) != len(fixed) or any(d is not None and d != f for d, f in zip(dims, fixed, strict=True)):
        return f"has shape {[d if d is not None else '?' for d in dims]}"
    return None
