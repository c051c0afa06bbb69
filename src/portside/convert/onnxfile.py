"""Reads ONNX files, external weights included, without ever leaving the folder of the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from portside.errors import ConversionFailed, SourceNotRecognised

if TYPE_CHECKING:
    import onnx


def load(path: Path) -> onnx.ModelProto:
    """The model with all its weights inside.

    Raises:
        SourceNotRecognised: the file is no ONNX graph.
        ConversionFailed: its external weights are missing, too short, or outside its folder.
    """
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as e:  # protobuf's DecodeError among others
        raise SourceNotRecognised(
            f"{path.name!r} cannot be read as an ONNX graph: it is damaged, cut off or something else", detail=str(e)
        ) from e
    if not model.graph.node and not model.graph.output:
        raise SourceNotRecognised(f"{path.name!r} holds no ONNX graph: it has no nodes and no outputs")
    outside = [t for t in tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL]
    for tensor in outside:
        _check_location(tensor, path)
    if outside:
        try:
            onnx.load_external_data_for_model(model, str(path.parent))
        except Exception as e:  # the library raises classes of its own
            raise ConversionFailed(
                f"the weights beside {path.name!r} cannot be read: they are cut off or belong to another model",
                detail=str(e),
            ) from e
    return model


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: weights, constants, those in subgraphs and functions."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _of_node(node)


def _of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        yield from _of_node(node)


def _of_node(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("g"):
            yield from _of_graph(attribute.g)
        for graph in attribute.graphs:
            yield from _of_graph(graph)


def _check_location(tensor: onnx.TensorProto, path: Path) -> None:
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    folder = path.parent.resolve()
    target = (folder / location).resolve()
    if not location or not target.is_relative_to(folder):
        raise ConversionFailed(
            f"weight '{tensor.name}' of {path.name!r} lies outside the folder of the graph: files there are not read; "
            "put the weights beside the graph and save it again"
        )
    if not target.is_file():
        raise ConversionFailed(
            f"the file {Path(location).name!r} with weights of {path.name!r} is missing: put it beside the graph"
        )
