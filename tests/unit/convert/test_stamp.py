"""Nothing leaves a converter newer than the engines read."""

from __future__ import annotations

import sys

import onnx
import pytest
from onnx import TensorProto, helper, parser

from portside.convert.stamp import FLOOR, Profile, one_node, opset_of, probe, stamp
from portside.errors import ConversionFailed, MissingExtra


def model(text: str, opset: int, ir_version: int) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["" : {opset}, "own" : 3]> {text}')


RELU = "net (float[N] x) => (float[N] y) { y = Relu(x) }"


@pytest.mark.parametrize(
    ("opset", "ir_version", "expected"),
    [(7, 3, (7, 3)), (18, 8, (18, 8)), (20, 10, (20, 10)), (20, 14, (20, 10)), (25, 10, (20, 10)), (26, 13, (20, 10))],
)
def test_only_newer_models_change(opset: int, ir_version: int, expected: tuple[int, int]) -> None:
    stamped = stamp(model(RELU, opset, ir_version))
    assert (opset_of(stamped), stamped.ir_version) == expected
    onnx.checker.check_model(stamped)
    assert {e.domain: e.version for e in stamped.opset_import}["own"] == 3


def test_operators_without_an_older_form_are_refused() -> None:
    with pytest.raises(ConversionFailed, match="opset 20"):
        stamp(model("net (float[N] x) => (float[N] y) { y = Swish(x) }", 24, 11))


def test_element_types_of_a_newer_ir_are_refused() -> None:
    newer = model(RELU, 20, 12)
    newer.graph.initializer.append(TensorProto(name="w", data_type=23, dims=[2], raw_data=b"\0"))
    with pytest.raises(ConversionFailed, match="IR 12"):
        stamp(newer)


def test_a_wider_profile_lets_more_through() -> None:
    stamped = stamp(model(RELU, 22, 11), Profile(ir_version=11, opset=22))
    assert (opset_of(stamped), stamped.ir_version) == (22, 11)


def test_probe_finds_the_newest_that_loads() -> None:
    def load(data: bytes) -> None:
        given = onnx.load_from_string(data)
        if given.ir_version > 12 or opset_of(given) > 23:
            raise RuntimeError("too new")

    assert probe(load) == Profile(ir_version=12, opset=23)


def test_probe_never_goes_below_the_floor() -> None:
    def load(data: bytes) -> None:
        raise RuntimeError("nothing works")

    assert probe(load) == FLOOR


def test_engines_read_the_floor() -> None:
    import onnxruntime
    import openvino

    data = one_node(FLOOR.ir_version, FLOOR.opset)
    onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    openvino.Core().read_model(data)


def test_one_node_needs_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"portside\[onnx\]"):
        one_node(10, 20)


def test_a_model_without_operators_of_the_standard_has_opset_0() -> None:
    assert opset_of(helper.make_model(helper.make_graph([], "g", [], []), opset_imports=[])) == 0
