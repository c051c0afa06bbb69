"""Renaming never merges two values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import parser
from onnx.reference import ReferenceEvaluator

from portside.convert.rename import rename_outputs, rename_values


def model(body: str) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : 16]> {body}')


def answers(made: onnx.ModelProto, **inputs: float) -> list[float]:
    onnx.checker.check_model(made, full_check=True)
    fed = {name: np.array([value], np.float32) for name, value in inputs.items()}
    return [float(a[0]) for a in ReferenceEvaluator(made).run(None, fed)]


CHAIN = "net (float[1] x) => (float[1] y) { t = Add(x, x)  u = Mul(t, x)  y = Sub(u, t) }"


@pytest.mark.parametrize(
    "wanted", [{"x": "image"}, {"x": "t"}, {"x": "u", "y": "t"}, {"t": "u", "u": "t"}, {"x": "x"}, {}, {"x": "t__0"}]
)
def test_answers_stay_the_same(wanted: dict[str, str]) -> None:
    made = model(CHAIN)
    rename_values(made.graph, wanted)
    assert made.graph.input[0].name == wanted.get("x", "x")
    assert made.graph.output[0].name == wanted.get("y", "y")
    assert answers(made, **{made.graph.input[0].name: 3}) == [12]


def test_subgraphs_follow() -> None:
    made = model(
        """net (float[1] x, bool c) => (float[1] y) {
        t = Neg(x)
        y = If(c) <
            then_branch = yes () => (float[1] a) { a = Add(x, t) },
            else_branch = no () => (float[1] b) { b = Sub(x, t) }
        > }"""
    )
    rename_values(made.graph, {"x": "a", "t": "x"})
    onnx.checker.check_model(made, full_check=True)
    run = ReferenceEvaluator(made).run
    given = np.array([2], np.float32)
    assert run(None, {"a": given, "c": np.array(data := True)})[0].tolist() == [0]
    assert run(None, {"a": given, "c": np.array(not data)})[0].tolist() == [4]


@pytest.mark.parametrize(
    ("body", "names", "expected"),
    [
        (CHAIN, ["t"], [12]),
        ("net (float[1] x) => (float[1] x) { t = Add(x, x) }", ["same"], [3]),
        ("net (float[1] x) => (float[1] t, float[1] t) { t = Add(x, x) }", ["one", "two"], [6, 6]),
        ("net (float[1] x) => (float[1] a, float[1] b) { a = Add(x, x)  b = Neg(a) }", ["b", "a"], [6, -6]),
        ("net (float[1] x) => (float[1] w) <float[1] w = {5}> { t = Add(x, x) }", ["weight"], [5]),
        ("net (float[1] x) => (float[1] w, float[1] w) <float[1] w = {5}> { t = Neg(x) }", ["w1", "w"], [5, 5]),
        ("net (float[1] x) => (float[1] t, float[1] t) { t = Add(x, x) }", ["a", "t"], [6, 6]),
    ],
)
def test_outputs_get_their_names(body: str, names: Sequence[str], expected: list[float]) -> None:
    made = model(body)
    rename_outputs(made.graph, names)
    assert [o.name for o in made.graph.output] == list(names)
    assert [i.name for i in made.graph.input] == ["x"]
    assert answers(made, x=3) == expected
