from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from portside.optimize.base import Graph
from portside.optimize.batchnorm import FoldBatchNorm
from portside.optimize.sequence import run_passes

RNG = np.random.default_rng(11)


def statistics(channels: int) -> dict[str, np.ndarray]:
    return {
        "gamma": RNG.normal(size=channels).astype(np.float32),
        "beta": RNG.normal(size=channels).astype(np.float32),
        "mean": RNG.normal(size=channels).astype(np.float32),
        "var": RNG.uniform(0.1, 2, size=channels).astype(np.float32),
    }


def norm(source: str, made: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node("BatchNormalization", [source, "gamma", "beta", "mean", "var"], [made], **attributes)


def weight(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def conv(build: Any) -> Graph:
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1] * 4), norm("c", "y", epsilon=1e-3)]
    outputs = {"y": ["batch", 6, 8, 8]}
    return build(nodes, {"x": ["batch", 4, 8, 8]}, outputs, w=weight(6, 4, 3, 3), b=weight(6), **statistics(6))


def conv_without_bias(build: Any) -> Graph:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], group=2),
        norm("c", "n"),
        helper.make_node("Relu", ["n"], ["y"]),
    ]
    return build(nodes, {"x": ["batch", 4, 8, 8]}, {"y": ["batch", 6, 6, 6]}, w=weight(6, 2, 3, 3), **statistics(6))


def conv_1d(build: Any) -> Graph:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), norm("c", "y")]
    return build(nodes, {"x": ["batch", 4, 8]}, {"y": ["batch", 6, 6]}, w=weight(6, 4, 3), **statistics(6))


def transposed(build: Any) -> Graph:
    nodes = [helper.make_node("ConvTranspose", ["x", "w", "b"], ["c"], group=2, strides=[2, 2]), norm("c", "y")]
    outputs = {"y": ["batch", 6, 16, 16]}
    return build(nodes, {"x": ["batch", 4, 8, 8]}, outputs, w=weight(4, 3, 2, 2), b=weight(6), **statistics(6))


def gemm(build: Any) -> Graph:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["c"], transB=1, alpha=0.5, beta=2.0), norm("c", "y")]
    return build(nodes, {"x": ["batch", 4]}, {"y": ["batch", 6]}, w=weight(6, 4), b=weight(6), **statistics(6))


def gemm_plain(build: Any) -> Graph:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["c"]), norm("c", "y")]
    return build(nodes, {"x": ["batch", 4]}, {"y": ["batch", 6]}, w=weight(4, 6), **statistics(6))


def gemm_scalar_bias(build: Any) -> Graph:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["c"]), norm("c", "y")]
    return build(nodes, {"x": ["batch", 4]}, {"y": ["batch", 6]}, w=weight(4, 6), b=weight(1, 1), **statistics(6))


def two_norms(build: Any) -> Graph:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), norm("c", "d"), norm("d", "y")]
    return build(nodes, {"x": ["batch", 4, 8, 8]}, {"y": ["batch", 6, 6, 6]}, w=weight(6, 4, 3, 3), **statistics(6))


def shared_weights(build: Any) -> Graph:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), norm("c", "d"), helper.make_node("Conv", ["d", "w"], ["y"])]
    return build(nodes, {"x": ["batch", 4, 8, 8]}, {"y": ["batch", 4, 8, 8]}, w=weight(4, 4, 1, 1), **statistics(4))


def constant_nodes(build: Any) -> Graph:
    """Weights in Constant nodes instead of initializers."""
    tensor = onnx.numpy_helper.from_array(weight(6, 4, 3, 3), "value")
    nodes = [
        helper.make_node("Constant", [], ["w"], value=tensor),
        helper.make_node("Conv", ["x", "w"], ["c"]),
        norm("c", "y"),
    ]
    return build(nodes, {"x": ["batch", 4, 8, 8]}, {"y": ["batch", 6, 6, 6]}, **statistics(6))


MAKERS = [
    conv,
    conv_without_bias,
    conv_1d,
    transposed,
    gemm,
    gemm_plain,
    gemm_scalar_bias,
    two_norms,
    shared_weights,
    constant_nodes,
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda m: m.__name__)
def test_folding_keeps_the_answers(build: Any, run: Any, make: Any) -> None:
    before = make(build)
    after, (outcome,) = run_passes(copy.deepcopy(before), [FoldBatchNorm()])
    assert outcome.applied
    assert outcome.modified
    assert "BatchNormalization" not in {n.op_type for n in after.proto.graph.node}
    assert after.signature == before.signature
    assert {"gamma", "var"}.isdisjoint(t.name for t in after.proto.graph.initializer)
    shape = [3 if isinstance(d, str) else d for d in before.signature.inputs[0].shape]
    x = RNG.normal(size=shape).astype(np.float32)
    want, got = run(before, {"x": x}), run(after, {"x": x})
    for engine in want:
        np.testing.assert_allclose(got[engine]["y"], want[engine]["y"], rtol=1e-4, atol=2e-5)


def used_twice(build: Any) -> Graph:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), norm("c", "n"), helper.make_node("Add", ["c", "n"], ["y"])]
    return build(nodes, {"x": ["batch", 4, 8, 8]}, {"y": ["batch", 6, 6, 6]}, w=weight(6, 4, 3, 3), **statistics(6))


def is_an_output(build: Any) -> Graph:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), norm("c", "y")]
    outputs = {"y": ["batch", 6, 6, 6], "c": ["batch", 6, 6, 6]}
    return build(nodes, {"x": ["batch", 4, 8, 8]}, outputs, w=weight(6, 4, 3, 3), **statistics(6))


def weights_from_outside(build: Any) -> Graph:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), norm("c", "y")]
    inputs = {"x": ["batch", 4, 8, 8], "w": [6, 4, 3, 3]}
    return build(nodes, inputs, {"y": ["batch", 6, 6, 6]}, **statistics(6))


def behind_something_else(build: Any) -> Graph:
    nodes = [helper.make_node("Relu", ["x"], ["c"]), norm("c", "y")]
    return build(nodes, {"x": ["batch", 4, 8, 8]}, {"y": ["batch", 4, 8, 8]}, **statistics(4))


def broken_statistics(build: Any) -> Graph:
    values = statistics(6) | {"var": np.full(6, -1, np.float32)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), norm("c", "y")]
    return build(nodes, {"x": ["batch", 4, 8, 8]}, {"y": ["batch", 6, 6, 6]}, w=weight(6, 4, 3, 3), **values)


UNFIT = [used_twice, is_an_output, weights_from_outside, behind_something_else, broken_statistics]


@pytest.mark.parametrize("make", UNFIT, ids=lambda m: m.__name__)
def test_what_cannot_be_folded_stays_byte_for_byte(build: Any, make: Any) -> None:
    graph = make(build)
    data = graph.proto.SerializeToString()
    after, (outcome,) = run_passes(graph, [FoldBatchNorm()])
    assert not outcome.applied
    assert "no batch normalisation" in outcome.note
    assert after.proto.SerializeToString() == data
