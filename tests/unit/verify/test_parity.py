from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from portside.verify.parity import Comparison, Difference


def compare(a: Any, b: Any, *, batched: bool = True) -> Difference:
    comparison = Comparison(batched=batched)
    comparison.add(np.asarray(a), np.asarray(b))
    return comparison.result()


def floats(values: Any) -> Any:
    return np.asarray(values, np.float32)


def test_equal_arrays_do_not_differ() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    found = compare(rows, rows.copy())
    assert (found.rows, found.max_abs, found.mean_rel, found.rms, found.unequal) == (5, 0, 0, 0, 0)
    assert found.cosine == pytest.approx(1)
    assert (found.ranked, found.top1, found.top5, found.flips, found.worst) == (5, 5, 5, (), ())


def test_the_numbers_are_those_of_the_definitions() -> None:
    a, b = floats([[1, 2, -4], [0, 1, 1]]), floats([[1, 3, -4], [0, 1, 0]])
    found = compare(a, b)
    assert found.max_abs == 1
    assert found.mean_abs == pytest.approx(2 / 6)
    assert found.rms == pytest.approx(math.sqrt(2 / 6))
    assert found.max_rel == pytest.approx(2.0)
    # the zero that both sides have counts for nothing: 0, 2/5, 0 and 0, 2
    assert found.mean_rel == pytest.approx((0.4 + 2.0) / 5)
    assert found.cosine == pytest.approx(1 / math.sqrt(2))
    assert found.reference_std == pytest.approx(a.std())
    assert found.reference_rms == pytest.approx(math.sqrt(23 / 6))
    assert found.reference_max == 4
    assert found.unequal == pytest.approx(2 / 6)
    assert found.worst == (0, 1)


def test_rows_of_several_calls_are_counted_on() -> None:
    comparison = Comparison(batched=True)
    comparison.add(floats([[1, 0]]), floats([[1, 0]]))
    comparison.add(floats([[1, 0], [0, 1]]), floats([[1, 0], [1, 0]]))
    found = comparison.result()
    assert found.rows == 3
    assert [flip.row for flip in found.flips] == [2]
    assert found.worst == (2,)


def test_an_output_without_a_batch_is_one_row() -> None:
    assert compare(np.ones((4, 3), np.float32), np.ones((4, 3), np.float32), batched=False).rows == 1
    assert compare(np.float32(1), np.float32(2), batched=False).max_abs == 1


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ([np.nan, 1], [np.nan, 1], True),
        ([np.nan, 1], [1, np.nan], False),
        ([1, 1], [np.nan, 1], False),
        ([np.nan, 1], [1, 1], False),
        ([np.inf, 1], [np.inf, 1], True),
        ([np.inf, 1], [-np.inf, 1], False),
        ([np.inf, 1], [np.nan, 1], False),
        ([np.inf, 1], [3e38, 1], False),
    ],
)
def test_nan_and_infinity_have_to_stand_in_the_same_places(a: Any, b: Any, *, same: bool) -> None:
    found = compare(floats([a]), floats([b]))
    assert found.nan_equal is same
    assert found.max_abs == 0
    assert bool(found.worst) is not same


@pytest.mark.parametrize(
    ("reference", "candidate", "top1", "top5", "margin"),
    [
        ([1, 2, 3], [1, 2, 3], 1, None, None),
        ([1, 2, 3], [1, 3, 2], 0, None, 1.0),
        ([3, 3, 1], [3, 2, 1], 1, None, None),  # a tie has two first places
        ([3, 3, 1], [2, 3, 1], 1, None, None),
        ([9, 8, 7, 6, 5, 4, 3], [9, 7, 8, 5, 6, 4, 3], 1, 1, None),
        ([9, 8, 7, 6, 5, 4, 3], [9, 8, 7, 6, 4, 5, 3], 1, 0, None),
        ([1, 2, 3], [1, 2, np.nan], 0, None, 1.0),
    ],
)
def test_agreement_of_the_best_places(
    reference: Any, candidate: Any, top1: int, top5: int | None, margin: float | None
) -> None:
    found = compare(floats([reference]), floats([candidate]))
    assert (found.ranked, found.top1, found.top5) == (1, top1, top5)
    assert [flip.margin for flip in found.flips] == ([] if margin is None else [margin])


@pytest.mark.parametrize("shape", [(3, 1), (3, 2, 2), (3,), (3, 0)])
def test_places_mean_nothing_without_a_list_of_scores(shape: tuple[int, ...]) -> None:
    array = np.ones(shape, np.float32)
    found = compare(array, array)
    assert (found.ranked, found.top5) == (0, None)


def test_scores_may_have_trailing_extents_of_one() -> None:
    array = floats([[1, 2, 3]]).reshape(1, 3, 1, 1)
    assert compare(array, array).ranked == 1


def test_integers_are_not_ranked_but_counted() -> None:
    found = compare(np.asarray([[1, 2], [3, 4]]), np.asarray([[1, 2], [3, 5]]))
    assert (found.floating, found.ranked, found.unequal, found.max_abs) == (False, 0, 0.25, 1)


def test_strings_are_equal_or_not() -> None:
    a, b = np.asarray([[b"x", b"y"]], object), np.asarray([[b"x", b"z"]], object)
    assert compare(a, a).unequal == 0
    assert (compare(a, b).floating, compare(a, b).unequal) == (False, 0.5)


@pytest.mark.parametrize("other", [np.ones((2, 3), np.float32), np.ones((1, 2), np.float64)])
def test_shapes_and_types_have_to_agree(other: Any) -> None:
    found = compare(np.ones((1, 2), np.float32), other)
    assert found.rows == 0
    assert "where the reference is float32[1, 2]" in found.shape_error


def test_a_missing_output_is_said() -> None:
    comparison = Comparison(batched=True)
    comparison.missing()
    assert comparison.result().shape_error == "is missing"


anything = st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
    lambda t: st.tuples(*(hnp.arrays(t, (3, 7), elements=st.floats(width=np.dtype(t).itemsize * 8)) for _ in range(2)))
)


@given(pair=anything)
@settings(max_examples=150, deadline=None)
def test_every_number_is_one_that_json_can_hold(pair: Any) -> None:
    found = compare(*pair)
    for name in found.__struct_fields__:
        number = getattr(found, name)
        if isinstance(number, float):
            assert math.isfinite(number), name
    assert -1 <= found.cosine <= 1
    assert 0 <= found.max_rel <= 2.0000001
    assert 0 <= found.top1 <= found.ranked <= found.rows


@given(rows=hnp.arrays(np.float32, (4, 6), elements=st.floats(width=32)))
@settings(max_examples=100, deadline=None)
def test_whatever_is_compared_with_itself_is_the_same(rows: Any) -> None:
    found = compare(rows, rows.copy())
    assert found.nan_equal
    assert (found.max_abs, found.rms, found.unequal, found.flips) == (0, 0, 0, ())
    assert found.cosine > 1 - 1e-9


def test_numbers_beyond_a_float_are_cut_off() -> None:
    huge = np.asarray([[1.7e308, 0]])
    found = compare(huge, -huge)
    assert found.max_abs == sys.float_info.max
    assert math.isfinite(found.rms)
    assert found.cosine == -1
