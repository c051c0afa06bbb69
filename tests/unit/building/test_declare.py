from __future__ import annotations

from typing import Any

import pytest

from portside.building.declare import fit
from portside.errors import InvalidSettings
from portside.model.processing import Classification, Colour, ImageInput, Layout, Processing
from portside.model.signature import Signature
from portside.model.tensors import Dim, DType, TensorSpec


def signature(shape: tuple[Dim, ...] = ("batch", 3, 8, 6), out: tuple[Dim, ...] = ("batch", 4)) -> Signature:
    return Signature((TensorSpec("x", DType.FLOAT32, shape),), (TensorSpec("y", DType.FLOAT32, out),), "batch")


IMAGE = ImageInput("", 8, 6)


def test_empty_names_become_the_only_ones() -> None:
    fitted = fit(Processing(IMAGE, Classification("")), signature())
    assert fitted.image is not None
    assert fitted.classification is not None
    assert (fitted.image.input, fitted.classification.output) == ("x", "y")


def test_nothing_declared_stays_nothing() -> None:
    assert fit(Processing(), signature()) == Processing()


@pytest.mark.parametrize(
    ("image", "shape"),
    [
        (IMAGE, ("batch", 3, "height", "width")),
        (ImageInput("x", 8, 6, layout=Layout.NHWC), ("batch", 8, 6, 3)),
        (ImageInput("x", 8, 6, colour=Colour.GREY, mean=(0.0,), std=(1.0,)), ("batch", 1, 8, 6)),
        (ImageInput("x", 8, 6), (1, 3, 8, 6)),
    ],
)
def test_pictures_that_fit(image: ImageInput, shape: tuple[Dim, ...]) -> None:
    fitted = fit(Processing(image), signature(shape)).image
    assert fitted is not None
    assert fitted.input == "x"


@pytest.mark.parametrize(
    ("image", "shape"),
    [
        (IMAGE, ("batch", 3, 6, 8)),
        (IMAGE, ("batch", 8, 6, 3)),
        (IMAGE, ("batch", 144)),
        (ImageInput("", 8, 6, colour=Colour.GREY, mean=(0.0,), std=(1.0,)), ("batch", 3, 8, 6)),
    ],
)
def test_pictures_that_do_not_fit(image: ImageInput, shape: tuple[Dim, ...]) -> None:
    with pytest.raises(InvalidSettings, match="but the model takes x: float32"):
        fit(Processing(image), signature(shape))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mean": (1.0,)}, "mean has 1 values"),
        ({"std": (1.0, 1.0, 0.0)}, "zero"),
        ({"scale": 0.0}, "zero"),
        ({"scale": float("nan")}, "finite"),
        ({"mean": (0.0, float("inf"), 0.0)}, "finite"),
        ({"crop_fraction": 0.0}, "crop_fraction"),
        ({"crop_fraction": 3.0}, "crop_fraction"),
        ({"resize": 0}, "0 pixels"),
    ],
)
def test_numbers_that_make_no_sense(wrong: dict[str, Any], said: str) -> None:
    declared = ImageInput(input="", height=8, width=6, **wrong)
    with pytest.raises(InvalidSettings, match=said):
        fit(Processing(declared), signature())


def test_pictures_for_an_integer_input_or_for_one_of_two_inputs() -> None:
    whole = Signature((TensorSpec("x", DType.INT64, ("batch", 3, 8, 6)),), ())
    with pytest.raises(InvalidSettings, match="but the model takes x: int64"):
        fit(Processing(IMAGE), whole)
    x = TensorSpec("x", DType.FLOAT32, ("batch", 3, 8, 6))
    two = Signature((x, TensorSpec("z", DType.FLOAT32, ("batch",))), ())
    with pytest.raises(InvalidSettings, match="only a model with one input"):
        fit(Processing(ImageInput("x", 8, 6)), two)
    with pytest.raises(InvalidSettings, match="an input without a name, but the model's inputs are 'x', 'z'"):
        fit(Processing(IMAGE), two)


def test_unknown_names() -> None:
    with pytest.raises(InvalidSettings, match="the input 'q', but the model's inputs are 'x'"):
        fit(Processing(ImageInput("q", 8, 6)), signature())
    with pytest.raises(InvalidSettings, match="the output 'q', but the model's outputs are 'y'"):
        fit(Processing(None, Classification("q")), signature())


@pytest.mark.parametrize("shape", [("batch", 4, 1, 1), ("batch", "classes"), ("batch", 4)])
def test_classes_that_fit(shape: tuple[Dim, ...]) -> None:
    fit(Processing(None, Classification("y", labels=("a", "b", "c", "d"))), signature(out=shape))


@pytest.mark.parametrize(
    ("classes", "shape", "said"),
    [
        (Classification("y", labels=("a", "b")), ("batch", 4), "2 labels, but the output y: .* has 4 classes"),
        (Classification("y"), ("batch", 4, 7), "one score a class"),
        (Classification("y"), (4,), "one score a class"),
        (Classification("y", top_k=0), ("batch", 4), "top_k is 0"),
    ],
)
def test_classes_that_do_not_fit(classes: Classification, shape: tuple[Dim, ...], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        fit(Processing(None, classes), signature(out=shape))
