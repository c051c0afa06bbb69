"""Keeps graphs at an IR version and opset that the engines read.

The ``onnx`` package writes newer models than the newest runtimes load, so nothing leaves a converter unstamped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from portside.errors import ConversionFailed, MissingExtra

if TYPE_CHECKING:
    import onnx

_ONNX_DOMAINS = ("", "ai.onnx")
# element types that came with IR 11 and later, by number: float4e2m1, float8e8m0, uint2, int2
_TYPES_AFTER_IR_10 = frozenset({23, 24, 25, 26})


class Profile(msgspec.Struct, frozen=True):
    """The newest format that may leave a converter.

    Attributes:
        ir_version: ONNX IR version.
        opset: version of the standard operator set.
    """

    ir_version: int
    opset: int


FLOOR = Profile(ir_version=10, opset=20)
"""What every engine since 2025 reads."""
EXPORT_OPSET = 18
"""What exporters are asked for: each of them writes it natively, and each engine reads it."""


def stamp(model: onnx.ModelProto, profile: Profile = FLOOR) -> onnx.ModelProto:
    """The model at most at ``profile``; an older one is left as it is.

    Raises:
        ConversionFailed: it is newer, and uses something that the older format cannot say.
    """
    opset = opset_of(model)
    if opset > profile.opset:
        model = _convert_down(model, opset, profile.opset)
    if model.ir_version > profile.ir_version:
        if profile.ir_version <= 10 and _uses_new_types(model):
            raise ConversionFailed(
                f"the graph holds tensors of an element type that needs ONNX IR {model.ir_version}, the engines read "
                f"IR {profile.ir_version}: export it again without 2-bit, 4-bit-float and 8-bit-exponent types"
            )
        model.ir_version = profile.ir_version
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the standard operator set that a model imports; 0 if it imports none."""
    return max((entry.version for entry in model.opset_import if entry.domain in _ONNX_DOMAINS), default=0)


def probe(
    load: Callable[[bytes], object], ir_versions: range = range(10, 15), opsets: range = range(18, 31)
) -> Profile:
    """The newest profile that ``load`` accepts, found by loading models of one node.

    Args:
        load: loads a serialised model and raises anything if it cannot; called a dozen times or so.
        ir_versions: tried upwards from the first until one fails.
        opsets: likewise.
    """

    def newest(values: range, model_of: Callable[[int], bytes], lowest: int) -> int:
        found = lowest
        for value in values:
            try:
                load(model_of(value))
            except Exception:  # noqa: BLE001 -- a refusal of any kind is the answer
                break
            found = value
        return found

    opset = newest(opsets, lambda n: one_node(FLOOR.ir_version, n), FLOOR.opset)
    ir_version = newest(ir_versions, lambda n: one_node(n, FLOOR.opset), FLOOR.ir_version)
    return Profile(ir_version, opset)


def one_node(ir_version: int, opset: int) -> bytes:
    """A serialised model of one Identity node, ``x -> y``, float32[1]. Raises MissingExtra."""
    try:
        from onnx import TensorProto, helper
    except ImportError as e:
        raise MissingExtra("writing ONNX graphs", "onnx", detail=str(e)) from e
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "one_node", [x], [y])
    model = helper.make_model(graph, ir_version=ir_version, opset_imports=[helper.make_opsetid("", opset)])
    return bytes(model.SerializeToString())


def _convert_down(model: onnx.ModelProto, given: int, wanted: int) -> onnx.ModelProto:
    from onnx import version_converter

    try:
        older = version_converter.convert_version(model, wanted)
    except Exception as e:  # the library raises RuntimeError and kinds of its own
        raise ConversionFailed(
            f"the graph uses ONNX opset {given}, newer than the {wanted} that the engines read for certain, and it "
            f"cannot be converted down: export it again with opset {wanted} or older",
            detail=str(e),
        ) from e
    # the converter keeps the standard domain only; the others are still needed
    known = {entry.domain for entry in older.opset_import}
    older.opset_import.extend(entry for entry in model.opset_import if entry.domain not in {*known, "ai.onnx"})
    return older


def _uses_new_types(model: onnx.ModelProto) -> bool:
    graph = model.graph
    if any(t.data_type in _TYPES_AFTER_IR_10 for t in graph.initializer):
        return True
    return any(
        v.type.tensor_type.elem_type in _TYPES_AFTER_IR_10 for v in (*graph.input, *graph.output, *graph.value_info)
    )
