"""Folds batch normalisation into the layer before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from portside.model.signature import Signature
from portside.model.tensors import Array
from portside.optimize.base import Graph
from portside.optimize.graphs import Weights, attribute, drop_unused_constants, remove_nodes, uses

if TYPE_CHECKING:
    import onnx

_Float64 = npt.NDArray[np.float64]
_LAYERS = ("Conv", "ConvTranspose", "Gemm")


class FoldBatchNorm:
    """Multiplies a batch normalisation into the weights and bias of the Conv, ConvTranspose or Gemm before it.

    Computed in float64. Left alone: a layer whose result is used elsewhere too or is an output, weights that are not
    constant, and normalisation in training mode.
    """

    @property
    def name(self) -> str:
        """Stable name."""
        return "fold-batchnorm"

    def requires(self, graph: Graph) -> str | None:
        """There is something to fold."""
        found = next(_folds(graph.proto.graph), None)
        return "no batch normalisation directly behind a Conv, ConvTranspose or Gemm" if found is None else None

    def apply(self, graph: Graph) -> Graph:
        """Folds in place until nothing is left to fold."""
        inner = graph.proto.graph
        while (fold := next(_folds(inner), None)) is not None:
            _carry_out(inner, fold)
        drop_unused_constants(inner)
        return graph

    def ensures(self, before: Signature, after: Graph) -> str | None:
        """Nothing foldable is left, and the signature is untouched."""
        if after.signature != before:
            return "the signature changed"
        return None if self.requires(after) is not None else "a foldable batch normalisation is left"


class _Fold(msgspec.Struct):
    """One fold that can be carried out: the two nodes and the layer's new constants."""

    layer: onnx.NodeProto
    norm: onnx.NodeProto
    weight: Array
    bias: Array


def _folds(graph: onnx.GraphProto) -> Iterator[_Fold]:
    weights, count = Weights(graph), uses(graph)
    makers = {node.output[0]: node for node in graph.node if node.op_type in _LAYERS}
    for norm in graph.node:
        if norm.op_type != "BatchNormalization" or attribute(norm, "training_mode", 0):
            continue
        layer = makers.get(norm.input[0])
        if layer is None or count[norm.input[0]] != 1:
            continue
        fold = _plan(layer, norm, weights)
        if fold is not None:
            yield fold


def _plan(layer: onnx.NodeProto, norm: onnx.NodeProto, weights: Weights) -> _Fold | None:
    parameters = [weights.get(name) for name in norm.input[1:5]]
    weight = weights.get(layer.input[1])
    if weight is None or any(p is None for p in parameters):
        return None
    gamma, beta, mean, var = (np.asarray(p, np.float64) for p in parameters)
    with np.errstate(invalid="ignore", divide="ignore"):  # what is not finite is left alone below
        factor = gamma / np.sqrt(var + attribute(norm, "epsilon", 1e-5))
    bias = _bias(layer, weights, len(factor))
    if bias is None:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        new_weight = (np.asarray(weight, np.float64) * _along_outputs(layer, weight, factor)).astype(weight.dtype)
        new_bias = ((bias - mean) * factor + beta).astype(weight.dtype)
    if not (np.isfinite(new_weight).all() and np.isfinite(new_bias).all()):
        return None
    return _Fold(layer, norm, new_weight, new_bias)


def _bias(layer: onnx.NodeProto, weights: Weights, channels: int) -> _Float64 | None:
    """The layer's present bias, one value a channel; ``None`` if it is not a constant of that form."""
    if len(layer.input) < 3 or not layer.input[2]:
        return np.zeros(channels)
    found = weights.get(layer.input[2])
    if found is None or found.size not in {1, channels} or (found.ndim > 1 and found.size != found.shape[-1]):
        return None
    bias = np.broadcast_to(np.asarray(found, np.float64).reshape(-1), (channels,))
    return bias * attribute(layer, "beta", 1.0) if layer.op_type == "Gemm" else bias


def _along_outputs(layer: onnx.NodeProto, weight: Array, factor: _Float64) -> _Float64:
    """``factor`` shaped so that it multiplies the weights of each output channel."""
    if layer.op_type == "Gemm":
        # alpha stays an attribute of the layer: it multiplies the weights either way.
        return factor[:, None] if attribute(layer, "transB", 0) else factor[None, :]
    tail = (1,) * (weight.ndim - 2)
    if layer.op_type == "Conv":
        return factor.reshape(-1, 1, *tail)
    group = attribute(layer, "group", 1)
    per_input = np.repeat(factor.reshape(group, -1), weight.shape[0] // group, axis=0)
    return per_input.reshape(*weight.shape[:2], *tail)


def _carry_out(graph: onnx.GraphProto, fold: _Fold) -> None:
    weights, layer = Weights(graph), fold.layer
    names = [layer.input[0], weights.put(f"{layer.input[1]}.folded", fold.weight)]
    names.append(weights.put(f"{layer.input[1]}.folded_bias", fold.bias))
    del layer.input[:]
    layer.input.extend(names)
    for entry in layer.attribute:
        if entry.name == "beta":
            entry.f = 1.0
    layer.output[0] = fold.norm.output[0]
    remove_nodes(graph, [fold.norm])
