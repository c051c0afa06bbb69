"""Moves an image's normalisation and layout into the graph, so that the tensor that crosses is uint8."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from portside.model.processing import ImageInput, Layout
from portside.model.signature import Signature
from portside.model.tensors import Dim, DType, TensorSpec
from portside.optimize.base import Graph
from portside.optimize.firstconv import fold_into_first_conv
from portside.optimize.graphs import Weights, free_name, onnx_library, rename_uses

if TYPE_CHECKING:
    import onnx

_Float64 = npt.NDArray[np.float64]
_AXES = {Layout.NCHW: (2, 3, 1), Layout.NHWC: (1, 2, 3)}
"""Where height, width and channels stand."""


class FuseNormalisation:
    """Gives the graph an input ``uint8[batch, height, width, channels]`` of the same name.

    In front of the graph: transpose (while the pixels are bytes, a quarter of the traffic), cast, then one
    multiplication and one addition a channel, as far as they cannot become part of the first convolution's weights.
    """

    @property
    def name(self) -> str:
        """Stable name."""
        return "fuse-normalisation"

    def requires(self, graph: Graph) -> str | None:
        """A declared, unfused image input that is float32 of the declared size."""
        image = graph.processing.image
        if image is None:
            return "no image processing is declared"
        if image.fused:
            return "the graph normalises already"
        spec = next((s for s in graph.signature.inputs if s.name == image.input), None)
        if spec is None:
            return f"the declared image input '{image.input}' is not an input of the graph"
        if any(o.name == image.input for o in graph.proto.graph.output):
            return f"the graph hands its input '{image.input}' out unchanged"
        return _unfit(image, spec)

    def apply(self, graph: Graph) -> Graph:
        """Changes the graph in place; signature and processing are new."""
        image = graph.processing.image
        if image is None:
            raise AssertionError("requires() was not asked")
        _prepend(graph.proto.graph, image)
        _retype(graph.proto.graph, image)
        processing = msgspec.structs.replace(graph.processing, image=msgspec.structs.replace(image, fused=True))
        return Graph(graph.proto, _new_signature(graph.signature, image), processing)

    def ensures(self, before: Signature, after: Graph) -> str | None:
        """The input has become uint8 and everything else is as it was."""
        image = after.processing.image
        if image is None or not image.fused:
            return "the processing does not say that it is fused"
        if after.signature != _new_signature(before, image):
            return "more than the image input changed in the signature"
        return None


def _unfit(image: ImageInput, spec: TensorSpec) -> str | None:
    if spec.dtype is not DType.FLOAT32 or len(spec.shape) != 4:
        return f"the input is {spec}, not a float32 image batch of rank 4"
    for axis, want in zip(_AXES[image.layout], (image.height, image.width, image.channels), strict=True):
        if isinstance(spec.shape[axis], int) and spec.shape[axis] != want:
            return f"the input is {spec}, which does not fit the declared {image.layout.value} pictures (axis {axis})"
    if len(image.mean) != image.channels or len(image.std) != image.channels:
        return f"{image.channels} values are needed for mean and std each, one a channel"
    if image.scale == 0 or 0 in image.std:
        return "a scale or std of 0 cannot be fused"
    return None


def _prepend(graph: onnx.GraphProto, image: ImageInput) -> None:
    helper = onnx_library().helper
    scale = image.scale / np.asarray(image.std, np.float64)
    bias = -np.asarray(image.mean, np.float64) / np.asarray(image.std, np.float64)
    last = free_name(graph, f"{image.input}.normalised")
    rename_uses(graph, image.input, last)
    scale, bias = fold_into_first_conv(graph, last, _AXES[image.layout][2], scale, bias)
    steps: list[tuple[str, list[str], dict[str, object]]] = []
    if image.layout is Layout.NCHW:
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
    steps.append(("Cast", [], {"to": onnx_library().TensorProto.FLOAT}))
    weights = Weights(graph)
    if (scale != 1).any():
        steps.append(("Mul", [weights.put(f"{image.input}.scale", _by_channel(scale, image.layout))], {}))
    if (bias != 0).any():
        steps.append(("Add", [weights.put(f"{image.input}.bias", _by_channel(bias, image.layout))], {}))
    name, nodes = image.input, []
    for index, (kind, constants, attributes) in enumerate(steps):
        made = last if index == len(steps) - 1 else free_name(graph, f"{image.input}.{kind.lower()}")
        nodes.append(helper.make_node(kind, [name, *constants], [made], name=made, **attributes))
        name = made
    for node in reversed(nodes):
        graph.node.insert(0, node)


def _by_channel(values: _Float64, layout: Layout) -> npt.NDArray[np.float32]:
    one_a_channel = values.astype(np.float32)
    return one_a_channel[:, None, None] if layout is Layout.NCHW else one_a_channel


def _retype(graph: onnx.GraphProto, image: ImageInput) -> None:
    """Rewrites the input's type, and everywhere else the symbols that height and width have got a value for."""
    fixed: dict[str, int] = {}
    library = onnx_library()
    for value in graph.input:
        if value.name == image.input:
            dims = value.type.tensor_type.shape.dim
            for axis, extent in zip(_AXES[image.layout], (image.height, image.width, image.channels), strict=True):
                if dims[axis].dim_param:
                    fixed[dims[axis].dim_param] = extent
            batch: Dim | None = dims[0].dim_value or dims[0].dim_param or None
            shape = [batch, image.height, image.width, image.channels]
            value.CopyFrom(library.helper.make_tensor_value_info(value.name, library.TensorProto.UINT8, shape))
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in fixed:
                dim.dim_value = fixed[dim.dim_param]


def _new_signature(before: Signature, image: ImageInput) -> Signature:
    old = before.input(image.input)
    sizes = (image.height, image.width, image.channels)
    fixed = {old.shape[axis]: extent for axis, extent in zip(_AXES[image.layout], sizes, strict=True)}

    def known(spec: TensorSpec) -> TensorSpec:
        if spec.name == image.input and spec == old:
            return TensorSpec(spec.name, DType.UINT8, (old.shape[0], *sizes))
        return TensorSpec(
            spec.name, spec.dtype, tuple(fixed.get(d, d) if isinstance(d, str) else d for d in spec.shape)
        )

    return Signature(tuple(map(known, before.inputs)), tuple(map(known, before.outputs)), before.batch_dim)
