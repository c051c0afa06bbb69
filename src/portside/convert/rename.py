"""Renames values of an ONNX graph, subgraphs included, without ever merging two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def rename_values(graph: onnx.GraphProto, wanted: Mapping[str, str]) -> Mapping[str, str]:
    """Renames values everywhere they are made, read or described.

    Args:
        graph: changed in place.
        wanted: new names by old name; new names must differ from each other. A bystander that already has one of the
            new names gets a suffix.

    Returns:
        every renaming that was done.
    """
    mapping = {old: new for old, new in wanted.items() if old != new}
    present = set(_names(graph))
    taken = present | set(mapping.values())
    for new in [n for n in mapping.values() if n in present and n not in wanted]:
        mapping[new] = _spare(new, taken)
        taken.add(mapping[new])
    if mapping:
        _apply(graph, mapping)
    return mapping


def rename_outputs(graph: onnx.GraphProto, names: Sequence[str]) -> None:
    """Gives the graph's outputs those names, by position; none of them may be an input's name.

    An output that is also an input, a weight or another output gets an Identity node, so that no input changes its
    name.
    """
    produced = {name for node in graph.node for name in node.output}
    wanted: dict[str, str] = {}
    copies: list[tuple[str, str]] = []
    for output, name in zip(graph.output, names, strict=True):
        if output.name in produced and output.name not in wanted:
            wanted[output.name] = name
        else:
            copies.append((output.name, name))
    mapping = rename_values(graph, wanted)
    for old, new in copies:
        origin = mapping.get(old, old)
        present = set(_names(graph))
        if new in present:
            moved = _spare(new, present)
            rename_values(graph, {new: moved})
            mapping = {**mapping, **{k: moved for k, v in mapping.items() if v == new}, new: moved}
            origin = moved if origin == new else origin
        graph.node.add(op_type="Identity", input=[origin], output=[new], name=f"copy_{new}")
    for output, name in zip(graph.output, names, strict=True):
        output.name = name


def _spare(name: str, taken: Set[str]) -> str:
    return next(f"{name}__{i}" for i in range(len(taken) + 1) if f"{name}__{i}" not in taken)


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    for value in (*graph.input, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from node.input
        yield from node.output
        for inner in _subgraphs(node):
            yield from _names(inner)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _apply(graph: onnx.GraphProto, mapping: Mapping[str, str]) -> None:
    for values in (graph.input, graph.output, graph.value_info, graph.initializer):
        for value in values:
            value.name = mapping.get(value.name, value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = mapping.get(sparse.values.name, sparse.values.name)
    for note in graph.quantization_annotation:
        note.tensor_name = mapping.get(note.tensor_name, note.tensor_name)
    for node in graph.node:
        node.input[:] = [mapping.get(n, n) for n in node.input]
        node.output[:] = [mapping.get(n, n) for n in node.output]
        for inner in _subgraphs(node):
            _apply(inner, mapping)
