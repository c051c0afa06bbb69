"""Makes an affine step on a graph's input part of the first convolution's weights, where that is exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from portside.model.tensors import Array
from portside.optimize.graphs import Weights, attribute, drop_unused_constants, uses

if TYPE_CHECKING:
    import onnx

_Float64 = npt.NDArray[np.float64]


def fold_into_first_conv(
    graph: onnx.GraphProto, name: str, channel_axis: int, scale: _Float64, bias: _Float64
) -> tuple[_Float64, _Float64]:
    """Folds ``x * scale + bias`` in front of ``name`` into the convolution that reads it.

    The scale can always move behind zero padding; the bias only if nothing is padded, for padding puts zeros where
    the normalised picture ends, not where the raw one does.

    Args:
        graph: changed in place.
        name: the value that the step would make; so far nothing makes it.
        channel_axis: where its channels stand.
        scale: one value a channel, none of them 0.
        bias: one value a channel.

    Returns:
        the scale and bias that are left to do before ``name``.
    """
    first = _first_conv(graph, name, channel_axis)
    if first is None:
        return scale, bias
    new_weight = first.weight * scale.reshape(1, -1, *(1,) * (first.weight.ndim - 2))
    new_bias = None if first.padded else _moved_bias(first, bias)
    if not np.isfinite(new_weight.astype(first.dtype)).all():
        return scale, bias
    weights = Weights(graph)
    node = first.node
    node.input[1] = weights.put(f"{node.input[1]}.scaled", new_weight.astype(first.dtype))
    ones, left = np.ones_like(scale), bias / scale
    if new_bias is not None:
        moved = weights.put(f"{node.input[1]}.bias", new_bias.astype(first.dtype))
        data = list(node.input)[:2]
        del node.input[:]
        node.input.extend([*data, moved])
        left = np.zeros_like(bias)
    drop_unused_constants(graph)
    return ones, left


class _FirstConv(msgspec.Struct):
    """The convolution that a graph's input meets first."""

    node: onnx.NodeProto
    weight: _Float64
    dtype: np.dtype[np.generic]
    bias: Array | None
    padded: bool


def _first_conv(graph: onnx.GraphProto, name: str, channel_axis: int) -> _FirstConv | None:
    """Follows ``name`` through transposes to an ungrouped convolution with constant weights that alone reads it."""
    weights, count = Weights(graph), uses(graph)
    while count[name] == 1:
        node = next((n for n in graph.node if name in n.input), None)
        if node is None or node.input[0] != name:
            return None
        if node.op_type == "Conv":
            return _usable(node, weights) if channel_axis == 1 else None
        permutation = attribute(node, "perm")
        if node.op_type != "Transpose" or permutation is None:
            return None
        channel_axis = list(permutation).index(channel_axis)
        name = node.output[0]
    return None


def _usable(node: onnx.NodeProto, weights: Weights) -> _FirstConv | None:
    weight = weights.get(node.input[1])
    if weight is None or attribute(node, "group", 1) != 1:
        return None
    bias = None
    if len(node.input) > 2 and node.input[2]:
        bias = weights.get(node.input[2])
        if bias is None:
            return None
    padding = attribute(node, "auto_pad", "NOTSET")
    padded = padding.startswith("SAME") or (padding == "NOTSET" and any(attribute(node, "pads", [])))
    return _FirstConv(node, np.asarray(weight, np.float64), weight.dtype, bias, padded)


def _moved_bias(first: _FirstConv, bias: _Float64) -> _Float64:
    """The convolution's bias plus what it makes of ``bias`` on every pixel."""
    own = np.zeros(first.weight.shape[0]) if first.bias is None else np.asarray(first.bias, np.float64)
    moved: _Float64 = own + first.weight.reshape(*first.weight.shape[:2], -1).sum(axis=2) @ bias
    return moved
