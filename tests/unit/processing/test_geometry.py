from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.model.processing import Fit, ImageInput
from portside.processing.geometry import Box, reduction, region, unturned

SPEC = ImageInput("x", 224, 224)
SIDES = st.integers(1, 70_000)


def spec(fit: Fit, **changes: object) -> ImageInput:
    return msgspec.structs.replace(SPEC, fit=fit, **changes)


@pytest.mark.parametrize(
    ("declared", "size", "expected"),
    [
        (spec(Fit.STRETCH), (640, 480), (0, 0, 640, 480)),
        (spec(Fit.CROP), (640, 480), (110, 30, 530, 450)),
        (spec(Fit.CROP, crop_fraction=1.0), (640, 480), (80, 0, 560, 480)),
        (spec(Fit.CROP, crop_fraction=0.01), (3, 3), (1, 1, 2, 2)),
        (spec(Fit.CROP), (1, 9), (0, 4, 1, 5)),
        # 480 -> 256, 640 -> 341; 58 columns (half to even) and 16 rows go.
        (spec(Fit.SHORTEST), (640, 480), (58 * 640 / 341, 16 * 1.875, 282 * 640 / 341, 240 * 1.875)),
        (spec(Fit.SHORTEST, resize=224), (224, 224), (0, 0, 224, 224)),
    ],
)
def test_the_region_of_each_fit(declared: ImageInput, size: tuple[int, int], expected: tuple[float, ...]) -> None:
    assert msgspec.structs.astuple(region(*size, declared)) == pytest.approx(expected)


def test_a_resize_too_small_for_the_target_is_enlarged() -> None:
    """A square of 100 pixels cannot hold 224 x 448: the whole width is needed, so 448 is."""
    box = region(300, 300, spec(Fit.SHORTEST, resize=100, width=448))
    assert (box.left, box.right) == (0, 300)
    assert (box.top, box.bottom) == pytest.approx((75, 225))


@given(
    SIDES,
    SIDES,
    st.sampled_from(Fit),
    st.integers(1, 4000),
    st.integers(1, 4000),
    st.integers(1, 4000),
    st.floats(1e-6, 1.0),
)
def test_the_region_lies_inside_the_picture(
    width: int, height: int, fit: Fit, target_w: int, target_h: int, resize: int, fraction: float
) -> None:
    declared = spec(fit, width=target_w, height=target_h, resize=resize, crop_fraction=fraction)
    box = region(width, height, declared)
    assert 0 <= box.left < box.right <= width
    assert 0 <= box.top < box.bottom <= height


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 8), st.data())
def test_a_box_turned_back_keeps_its_size_and_stays_inside(
    width: int, height: int, turn: int, data: st.DataObject
) -> None:
    shown_w, shown_h = (height, width) if turn >= 5 else (width, height)
    left, top = data.draw(st.integers(0, shown_w - 1)), data.draw(st.integers(0, shown_h - 1))
    right, bottom = data.draw(st.integers(left + 1, shown_w)), data.draw(st.integers(top + 1, shown_h))
    box = unturned(Box(left, top, right, bottom), turn, width, height)
    sides = (box.right - box.left, box.bottom - box.top)
    assert sides == ((bottom - top, right - left) if turn >= 5 else (right - left, bottom - top))
    assert box.left >= 0
    assert box.right <= width
    assert box.top >= 0
    assert box.bottom <= height


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ((224, 224), 1),
        ((447, 1000), 1),
        ((448, 448), 2),
        ((1000, 895), 2),
        ((896, 896), 4),
        ((9000, 9000), 8),
        ((10, 10), 1),
    ],
)
def test_a_reduced_picture_is_never_smaller_than_the_target(sides: tuple[int, int], expected: int) -> None:
    assert reduction(Box(5, 5, 5 + sides[0], 5 + sides[1]), 224, 224) == expected
