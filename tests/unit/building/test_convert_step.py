from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from portside.building.convert_step import CASES, ConvertInput, ConvertOutput, convert, graph_path, raw_pictures
from portside.building.steps import Context
from portside.building.toolbox import Toolbox
from portside.convert.base import Recognised, Reference
from portside.convert.onnx2onnx import Onnx2Onnx
from portside.errors import ConversionFailed, InvalidSettings, SourceNotRecognised
from portside.model.evidence import CaseKind
from portside.model.processing import Activation, Classification, ImageInput, Processing
from portside.model.source import Converted, Source
from portside.model.tensors import Array
from portside.verify.cases import Case, load_cases


def save(path: Path, shape: list[Any], nodes: list[onnx.NodeProto], weight: Array, out: list[Any]) -> str:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), str(path))
    return str(path)


@pytest.fixture
def dense(tmp_path: Path) -> str:
    weight = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    return save(
        tmp_path / "net.onnx", ["batch", 4], [helper.make_node("MatMul", ["x", "w"], ["y"])], weight, ["batch", 3]
    )


@pytest.fixture
def picture_net(tmp_path: Path) -> str:
    """The mean colour of a picture, times a matrix."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    weight = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    return save(tmp_path / "net.onnx", ["batch", 3, 8, 6], nodes, weight, ["batch", 4])


@pytest.fixture
def context(tmp_path: Path, shown: Any) -> Context:
    files = tmp_path / "ws" / "convert" / "files"
    files.mkdir(parents=True)
    return Context(Toolbox([Onnx2Onnx()], {}, [], [], ()), tmp_path / "ws", files, shown)


def ask(source: str, samples: Path | None = None, processing: Processing | None = None, cores: int = 1) -> ConvertInput:
    return ConvertInput(
        Source(source), processing or Processing(), None if samples is None else str(samples), 64, 0, cores
    )


def cases_of(context: Context) -> list[Case]:
    return load_cases(context.files / CASES)


def test_the_original_answers_every_case(dense: str, context: Context, tmp_path: Path, shown: Any) -> None:
    rows = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=rows)
    made = convert(ask(dense, tmp_path / "rows.npz"), context)
    assert isinstance(made, ConvertOutput)
    assert made.real_rows == 20
    assert graph_path(context.files, made.converted).is_file()
    cases = cases_of(context)
    weight = numpy_helper.to_array(onnx.load(dense).graph.initializer[0])
    for case in cases:
        assert case.expected is not None
        np.testing.assert_allclose(case.expected["y"], case.inputs["x"] @ weight, rtol=1e-4, atol=1e-5)
    real = np.concatenate([case.inputs["x"] for case in cases if case.kind is CaseKind.REAL])
    assert np.array_equal(real, rows)
    assert shown.calls[0] == ("start", "convert", None)
    assert shown.calls[-1][0] == "finish"
    assert "20 real samples" in shown.calls[-1][1]


def test_without_samples_the_cases_are_invented(dense: str, context: Context) -> None:
    made = convert(ask(dense), context)
    assert made.real_rows == 0
    assert cases_of(context)
    assert not [case for case in cases_of(context) if case.kind is CaseKind.REAL]
    assert raw_pictures(context.files) == ()


def test_pictures_are_kept_as_they_came_and_as_pixels(picture_net: str, context: Context, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    declared = Processing(ImageInput("", 8, 6, scale=1 / 255), Classification(""))
    made = convert(ask(picture_net, photos, declared), context)
    assert made.processing.image is not None
    assert made.processing.classification is not None
    assert (made.processing.image.input, made.processing.classification.output) == ("x", "y")
    assert len(made.skipped) == 1
    assert raw_pictures(context.files) == tuple((photos / f"{n}.png").read_bytes() for n in range(2))
    for case in cases_of(context):
        assert case.pixels is not None
        assert case.inputs["x"].shape == (len(case.pixels), 3, 8, 6)


@pytest.fixture
def certain(tmp_path: Path) -> str:
    """A network that ends in a softmax."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["y"], axis=-1)]
    weight = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    return save(tmp_path / "certain.onnx", ["batch", 4], nodes, weight, ["batch", 3])


def test_a_softmax_over_a_softmax_is_refused(certain: str, dense: str, context: Context, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32))
    declared = Processing(None, Classification(""))
    with pytest.raises(InvalidSettings, match="'y' already adds up to 1 in every row"):
        convert(ask(certain, tmp_path / "rows.npz", declared), context)
    convert(ask(dense, tmp_path / "rows.npz", declared), context)
    plain = Processing(None, Classification("", activation=Activation.NONE))
    convert(ask(certain, tmp_path / "rows.npz", plain), context)


class Picky:
    """The ONNX converter, with an original that dislikes some inputs and wavers with its threads."""

    name = "picky2onnx"

    def __init__(self, limit: float) -> None:
        self._inner = Onnx2Onnx()
        self._limit = limit

    def recognise(self, source: Source) -> Recognised | None:
        return self._inner.recognise(source)

    def convert(self, source: Source, folder: Path) -> Converted:
        return self._inner.convert(source, folder)

    def reference(self, source: Source, converted: Converted) -> Reference:
        return PickyReference(self._inner.reference(source, converted), self._limit)


class PickyReference:
    framework = "Picky 1.0"

    def __init__(self, inner: Reference, limit: float) -> None:
        self._inner = inner
        self._limit = limit
        self._threads = 0

    def set_threads(self, threads: int) -> None:
        self._threads = threads

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        if np.abs(inputs["x"].astype(np.float64)).min() < self._limit:
            raise ConversionFailed("too small")
        return {name: array + np.float32(self._threads) for name, array in self._inner.run(inputs).items()}


def with_picky(context: Context, limit: float) -> Context:
    return Context(Toolbox([Picky(limit)], {}, [], [], ()), context.workspace, context.files, context.progress)


def test_invented_inputs_that_the_original_refuses_are_left_out(dense: str, context: Context, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.full((3, 4), 0.5, np.float32))
    made = convert(ask(dense, tmp_path / "rows.npy", cores=3), with_picky(context, 0.1))
    assert any("zeros" in name for name in made.refused)
    left = cases_of(context)
    assert not {case.name for case in left} & set(made.refused)
    assert CaseKind.REAL in {case.kind for case in left}
    assert made.noise == {"y": pytest.approx(2.0)}


def test_real_inputs_must_be_answered(dense: str, context: Context, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(ConversionFailed, match="too small"):
        convert(ask(dense, tmp_path / "rows.npy"), with_picky(context, 0.1))


def test_what_does_not_fit_is_refused(dense: str, context: Context, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.ones((3, 5), np.float32))
    with pytest.raises(InvalidSettings, match="axis 1 must be 4"):
        convert(ask(dense, tmp_path / "rows.npy"), context)
    with pytest.raises(InvalidSettings, match="but the model takes x"):
        convert(ask(dense, processing=Processing(ImageInput("", 8, 6))), context)
    (tmp_path / "net.any").write_bytes(b"nothing that anybody knows")
    with pytest.raises(SourceNotRecognised):
        convert(ask(str(tmp_path / "net.any")), context)
