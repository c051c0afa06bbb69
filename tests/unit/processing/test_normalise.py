from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.errors import InvalidSettings
from portside.model.processing import Colour, ImageInput, Layout
from portside.processing.normalise import normalise

IMAGENET = ImageInput(
    "x", 3, 5, scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), layout=Layout.NCHW
)


def pixels(n: int = 2, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 3, 5, channels), np.uint8)


def formula(p: np.ndarray, spec: ImageInput) -> np.ndarray:
    return (p.astype(np.float64) * spec.scale - np.array(spec.mean)) / np.array(spec.std)


@pytest.mark.parametrize("layout", Layout)
def test_the_declared_formula_and_layout(layout: Layout) -> None:
    spec = msgspec.structs.replace(IMAGENET, layout=layout)
    given_pixels = pixels()
    out = normalise(given_pixels, spec)
    expected = formula(given_pixels, spec)
    if layout is Layout.NCHW:
        expected = expected.transpose(0, 3, 1, 2)
    assert out.dtype == np.float32
    assert out.shape == expected.shape
    assert out.flags.c_contiguous
    assert out.flags.writeable
    np.testing.assert_allclose(out, expected, rtol=0, atol=5e-7)


@given(
    st.floats(-10, 10),
    st.tuples(*[st.floats(-300, 300)] * 3),
    st.tuples(*[st.floats(0.01, 300)] * 3),
    st.sampled_from(Layout),
)
def test_any_constants(scale: float, mean: tuple[float, ...], std: tuple[float, ...], layout: Layout) -> None:
    spec = ImageInput("x", 3, 5, scale=scale, mean=mean, std=std, layout=layout)
    given_pixels = pixels(1)
    expected = formula(given_pixels, spec)
    # Two float32 roundings of terms as large as these.
    bound = 2e-7 * (255 * abs(scale) / min(std) + max(abs(m) for m in mean) / min(std)) + 1e-30
    out = normalise(given_pixels, spec)
    got = out.transpose(0, 2, 3, 1) if layout is Layout.NCHW else out
    assert np.abs(got - expected).max() <= bound


@pytest.mark.parametrize("layout", Layout)
def test_pixels_that_are_not_contiguous(layout: Layout) -> None:
    spec = msgspec.structs.replace(IMAGENET, layout=layout)
    turned = pixels()[..., ::-1]
    np.testing.assert_array_equal(normalise(turned, spec), normalise(np.ascontiguousarray(turned), spec))


def test_one_channel() -> None:
    spec = ImageInput("x", 3, 5, colour=Colour.GREY, scale=1 / 255, mean=(0.5,), std=(0.5,))
    out = normalise(pixels(1, 1), spec)
    assert out.shape == (1, 1, 3, 5)
    assert -1.0 <= out.min() < out.max() <= 1.0


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.0,), (1.0, 1.0, 1.0)), ((0.0, 0.0, 0.0), (1.0,)), ((0.0, 0.0, 0.0), (1.0, 0.0, 1.0)), ((), ())],
)
def test_constants_that_do_not_fit_are_named(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(InvalidSettings, match="3 channel"):
        normalise(pixels(), msgspec.structs.replace(IMAGENET, mean=mean, std=std))
