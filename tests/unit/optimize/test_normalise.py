from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper

from portside.model.processing import Colour, ImageInput, Layout, Processing
from portside.model.tensors import DType, TensorSpec
from portside.optimize.base import Graph
from portside.optimize.normalise import FuseNormalisation
from portside.optimize.sequence import run_passes
from portside.processing.normalise import normalise

RGB = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def pixels(channels: int = 3, batch: int = 3) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (batch, 16, 12, channels), dtype=np.uint8)


def operators(graph: Graph) -> list[str]:
    return [node.op_type for node in graph.proto.graph.node]


def assert_same_answers(run: Any, before: Graph, after: Graph, raw: np.ndarray) -> None:
    image = before.processing.image
    assert image is not None
    want = run(before, {"pixels": normalise(raw, image)})
    got = run(after, {"pixels": raw})
    for engine, outputs in want.items():
        for name, value in outputs.items():
            np.testing.assert_allclose(got[engine][name], value, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 0, 1, 1), (0, 0, 0, 0)])
def test_the_fused_graph_answers_the_same(
    picture_net: Callable[..., Graph], run: Any, layout: Layout, pads: tuple[int, ...]
) -> None:
    before = picture_net(layout, pads, **RGB)
    after, (outcome,) = run_passes(copy.deepcopy(before), [FuseNormalisation()])
    assert outcome.modified
    assert after.signature.inputs == (TensorSpec("pixels", DType.UINT8, ("batch", 16, 12, 3)),)
    assert after.signature.outputs == before.signature.outputs
    assert after.processing.image is not None
    assert after.processing.image.fused
    assert_same_answers(run, before, after, pixels())


def test_behind_zero_padding_only_the_scale_moves(picture_net: Callable[..., Graph]) -> None:
    after, _ = run_passes(picture_net(pads=(0, 0, 1, 1), **RGB), [FuseNormalisation()])
    assert operators(after)[:4] == ["Transpose", "Cast", "Add", "Conv"]


def test_without_padding_everything_moves(picture_net: Callable[..., Graph]) -> None:
    after, _ = run_passes(picture_net(pads=(0, 0, 0, 0), **RGB), [FuseNormalisation()])
    assert operators(after)[:3] == ["Transpose", "Cast", "Conv"]
    assert "w" not in {t.name for t in after.proto.graph.initializer}


def test_nothing_to_add_without_a_mean(picture_net: Callable[..., Graph], run: Any) -> None:
    before = picture_net(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), scale=1.0)
    after, _ = run_passes(copy.deepcopy(before), [FuseNormalisation()])
    assert operators(after)[:3] == ["Transpose", "Cast", "Conv"]
    assert_same_answers(run, before, after, pixels())


def test_one_grey_channel(picture_net: Callable[..., Graph], run: Any) -> None:
    before = picture_net(channels=1, colour=Colour.GREY, mean=(0.5,), std=(0.25,))
    after, _ = run_passes(copy.deepcopy(before), [FuseNormalisation()])
    assert after.signature.inputs[0].shape == ("batch", 16, 12, 1)
    assert_same_answers(run, before, after, pixels(channels=1))


def elementwise_net(build: Any, consumers: int, **image: Any) -> Graph:
    """A net whose pixels meet no convolution."""
    nodes = [helper.make_node("Sigmoid", ["pixels"], [f"y{i}"]) for i in range(consumers)]
    outputs = {f"y{i}": ["batch", 3, 16, 12] for i in range(consumers)}
    processing = Processing(image=ImageInput("pixels", 16, 12, **image))
    return build(nodes, {"pixels": ["batch", 3, 16, 12]}, outputs, processing)


@pytest.mark.parametrize("consumers", [1, 2])
def test_without_a_convolution_scale_and_bias_stay_steps(build: Any, run: Any, consumers: int) -> None:
    before = elementwise_net(build, consumers, scale=1 / 255, **RGB)
    after, _ = run_passes(copy.deepcopy(before), [FuseNormalisation()])
    assert operators(after)[:4] == ["Transpose", "Cast", "Mul", "Add"]
    assert_same_answers(run, before, after, pixels())


def conv_and_shortcut(build: Any) -> Graph:
    """The picture goes into a convolution and past it: its weights must not change."""
    return build(
        [helper.make_node("Conv", ["pixels", "w"], ["c"]), helper.make_node("Add", ["c", "pixels"], ["y"])],
        {"pixels": ["batch", 3, 16, 12]},
        {"y": ["batch", 3, 16, 12]},
        Processing(image=ImageInput("pixels", 16, 12, scale=1 / 255, **RGB)),
        w=np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32),
    )


def grouped(build: Any) -> Graph:
    return build(
        [helper.make_node("Conv", ["pixels", "w"], ["y"], group=3)],
        {"pixels": ["batch", 3, 16, 12]},
        {"y": ["batch", 3, 16, 12]},
        Processing(image=ImageInput("pixels", 16, 12, scale=1 / 255, **RGB)),
        w=np.random.default_rng(0).normal(size=(3, 1, 1, 1)).astype(np.float32),
    )


@pytest.mark.parametrize("make", [conv_and_shortcut, grouped])
def test_a_convolution_that_cannot_take_it_keeps_its_weights(build: Any, run: Any, make: Any) -> None:
    before = make(build)
    after, _ = run_passes(copy.deepcopy(before), [FuseNormalisation()])
    assert Counter(operators(after))["Mul"] == 1
    assert_same_answers(run, before, after, pixels())


def test_weights_that_two_layers_share_change_for_one(build: Any, run: Any) -> None:
    before = build(
        [
            helper.make_node("Conv", ["pixels", "w"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Conv", ["c", "w"], ["y"], pads=[1, 1, 1, 1], auto_pad="NOTSET"),
        ],
        {"pixels": ["batch", 3, 16, 12]},
        {"y": ["batch", 3, 16, 12]},
        Processing(image=ImageInput("pixels", 16, 12, scale=1 / 255, **RGB)),
        w=np.random.default_rng(0).normal(size=(3, 3, 3, 3)).astype(np.float32),
    )
    after, _ = run_passes(copy.deepcopy(before), [FuseNormalisation()])
    assert_same_answers(run, before, after, pixels())


@pytest.mark.parametrize(("auto_pad", "additions"), [("SAME_UPPER", 1), ("VALID", 0)])
def test_automatic_padding(build: Any, run: Any, auto_pad: str, additions: int) -> None:
    size = [8, 6] if auto_pad == "SAME_UPPER" else [7, 5]
    before = build(
        [helper.make_node("Conv", ["pixels", "w"], ["y"], auto_pad=auto_pad, strides=[2, 2])],
        {"pixels": ["batch", 3, 16, 12]},
        {"y": ["batch", 4, *size]},
        Processing(image=ImageInput("pixels", 16, 12, scale=1 / 255, **RGB)),
        w=np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32),
    )
    after, _ = run_passes(copy.deepcopy(before), [FuseNormalisation()])
    assert Counter(operators(after))["Add"] == additions
    assert_same_answers(run, before, after, pixels())


def test_open_height_and_width_become_the_declared_ones(build: Any, run: Any) -> None:
    before = build(
        [helper.make_node("Relu", ["pixels"], ["y"])],
        {"pixels": ["batch", 3, "height", "width"]},
        {"y": ["batch", 3, "height", "width"]},
        Processing(image=ImageInput("pixels", 16, 12, scale=1 / 255)),
    )
    after, _ = run_passes(copy.deepcopy(before), [FuseNormalisation()])
    assert after.signature.inputs[0].shape == ("batch", 16, 12, 3)
    assert after.signature.outputs[0].shape == ("batch", 3, 16, 12)
    assert_same_answers(run, before, after, pixels())


def test_a_branch_that_reads_the_input_reads_the_normalised_one(build: Any, run: Any) -> None:
    """Names of the outer graph are visible inside branches."""
    value = [helper.make_tensor_value_info("t", onnx.TensorProto.FLOAT, None)]
    branches = {
        "then_branch": helper.make_graph([helper.make_node("Relu", ["pixels"], ["t"])], "then", [], value),
        "else_branch": helper.make_graph([helper.make_node("Neg", ["pixels"], ["t"])], "else", [], value),
    }
    before = build(
        [
            helper.make_node("ReduceSum", ["pixels"], ["sum"], keepdims=0),
            helper.make_node("Cast", ["sum"], ["yes"], to=onnx.TensorProto.BOOL),
            helper.make_node("If", ["yes"], ["y"], **branches),
        ],
        {"pixels": ["batch", 3, 16, 12]},
        {"y": ["batch", 3, 16, 12]},
        Processing(image=ImageInput("pixels", 16, 12, scale=1 / 255)),
    )
    after, _ = run_passes(copy.deepcopy(before), [FuseNormalisation()])
    assert_same_answers(run, before, after, pixels())


def replaced(graph: Graph, **image: Any) -> Graph:
    assert graph.processing.image is not None
    return Graph(
        graph.proto, graph.signature, Processing(image=msgspec.structs.replace(graph.processing.image, **image))
    )


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ({"fused": True}, "already"),
        ({"input": "other"}, "'other' is not an input"),
        ({"height": 20}, "does not fit"),
        ({"layout": Layout.NHWC}, "does not fit"),
        ({"mean": (0.5,)}, "3 values"),
        ({"std": (1.0, 0.0, 1.0)}, "cannot be fused"),
        ({"scale": 0.0}, "cannot be fused"),
        ({"colour": Colour.GREY, "mean": (0.0,), "std": (1.0,)}, "does not fit"),
    ],
)
def test_what_does_not_apply_says_why_and_changes_nothing(
    picture_net: Callable[..., Graph], image: dict[str, Any], words: str
) -> None:
    graph = replaced(picture_net(), **image)
    data = graph.proto.SerializeToString()
    after, (outcome,) = run_passes(graph, [FuseNormalisation()])
    assert not outcome.applied
    assert not outcome.modified
    assert words in outcome.note
    assert after.proto.SerializeToString() == data
    assert after.processing == graph.processing


def test_no_declaration_no_fusion(picture_net: Callable[..., Graph]) -> None:
    graph = picture_net()
    assert FuseNormalisation().requires(Graph(graph.proto, graph.signature)) == "no image processing is declared"


def test_an_input_of_another_type_is_left(build: Any) -> None:
    processing = Processing(image=ImageInput("x", 16, 12))
    graph = build([helper.make_node("Relu", ["x"], ["y"])], {"x": ["batch", 4]}, {"y": ["batch", 4]}, processing)
    assert "rank 4" in (FuseNormalisation().requires(graph) or "")
