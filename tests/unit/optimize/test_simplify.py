from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import helper

from portside.optimize.base import Graph
from portside.optimize.sequence import run_passes
from portside.optimize.simplify import Simplify


@pytest.fixture
def roundabout(build: Any) -> Graph:
    """Constants to fold, an identity, a transpose there and back, a pad in front of a convolution, dead ends."""
    return build(
        [
            helper.make_node("Add", ["one", "one"], ["two"]),
            helper.make_node("Mul", ["two", "two"], ["four"]),
            helper.make_node("Identity", ["x"], ["i"]),
            helper.make_node("Transpose", ["i"], ["t"], perm=[0, 2, 3, 1]),
            helper.make_node("Transpose", ["t"], ["u"], perm=[0, 3, 1, 2]),
            helper.make_node("Pad", ["u", "pads"], ["p"]),
            helper.make_node("Conv", ["p", "w"], ["c"]),
            helper.make_node("Mul", ["c", "four"], ["y"]),
            helper.make_node("Sin", ["c"], ["nobody"]),
        ],
        {"x": ["batch", 4, 8, 8]},
        {"y": ["batch", 6, 8, 8]},
        one=np.ones(1, np.float32),
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        w=np.random.default_rng(0).normal(size=(6, 4, 3, 3)).astype(np.float32),
    )


def test_simplifying_keeps_answers_names_batch_and_stamps(roundabout: Graph, run: Any) -> None:
    before = copy.deepcopy(roundabout)
    after, (outcome,) = run_passes(roundabout, [Simplify()])
    assert outcome.modified
    assert outcome.note.startswith("9 -> ")
    operators = [n.op_type for n in after.proto.graph.node]
    assert set(operators) <= {"Conv", "Mul"}
    assert after.signature == before.signature
    assert after.proto.ir_version == 9
    assert [(o.domain, o.version) for o in after.proto.opset_import] == [("", 18)]
    assert after.proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    for batch in (1, 3):
        x = np.random.default_rng(1).normal(size=(batch, 4, 8, 8)).astype(np.float32)
        want, got = run(before, {"x": x}), run(after, {"x": x})
        for engine in want:
            np.testing.assert_allclose(got[engine]["y"], want[engine]["y"], rtol=1e-4, atol=1e-4)


def test_a_graph_that_is_simple_stays_unmodified(picture_net: Callable[..., Graph]) -> None:
    once, _ = run_passes(picture_net(), [Simplify()])
    nodes = [n.SerializeToString() for n in once.proto.graph.node]
    twice, (outcome,) = run_passes(once, [Simplify()])
    assert outcome.applied
    assert [n.SerializeToString() for n in twice.proto.graph.node] == nodes
    assert not outcome.modified
    assert outcome.note == "nothing to change"


def test_a_constant_that_would_be_huge_stays_computed(build: Any) -> None:
    shape = np.array([4096, 4096])
    graph = build(
        [helper.make_node("Expand", ["one", "shape"], ["big"]), helper.make_node("MatMul", ["x", "big"], ["y"])],
        {"x": ["batch", 4096]},
        {"y": ["batch", 4096]},
        one=np.ones(1, np.float32),
        shape=shape,
    )
    after, _ = run_passes(graph, [Simplify()])
    assert after.proto.ByteSize() < 10_000
