from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from portside.errors import InvalidRequest, InvalidTensor
from portside.model.processing import Activation, Classification
from portside.processing.classify import activate, classify

PLAIN = Classification("y", activation=Activation.NONE, top_k=3, labels=("cat", "dog", "fox", "owl"))


def indices(scores: list[list[float]], spec: Classification = PLAIN, top_k: int | None = None) -> list[list[int]]:
    return [[c.index for c in row] for row in classify({"y": np.array(scores, np.float32)}, spec, top_k)]


def test_best_first_with_labels() -> None:
    (row,) = classify({"y": np.array([[0.1, 0.4, 0.2, 0.3]], np.float32)}, PLAIN)
    assert [(c.index, c.label) for c in row] == [(1, "dog"), (3, "owl"), (2, "fox")]
    assert [c.score for c in row] == pytest.approx([0.4, 0.3, 0.2])
    assert type(row[0].index) is int
    assert type(row[0].score) is float


def test_top_k_may_be_asked_for_and_ends_with_the_classes() -> None:
    assert indices([[1, 2, 3, 4]], top_k=1) == [[3]]
    assert indices([[1, 2, 3, 4]], top_k=99) == [[3, 2, 1, 0]]
    for wrong in (0, -1):
        with pytest.raises(InvalidRequest, match="top_k"):
            indices([[1, 2]], top_k=wrong)


def test_classes_without_a_label_are_numbered() -> None:
    (row,) = classify({"y": np.array([[1, 2, 3, 4, 5]], np.float32)}, msgspec.structs.replace(PLAIN, labels=("a",)), 5)
    assert [c.label for c in row] == ["4", "3", "2", "1", "a"]


def test_equal_scores_keep_the_order_of_the_classes() -> None:
    assert indices([[1, 1, 1, 1, 1]]) == [[0, 1, 2]]
    assert indices([[0, 5, 0, 0, 5]]) == [[1, 4, 0]]


def test_nan_sorts_last() -> None:
    nan = math.nan
    assert indices([[nan, 1, nan, 2], [nan, nan, nan, nan], [-math.inf, nan, math.inf, 0]], top_k=4) == [
        [3, 1, 0, 2],
        [0, 1, 2, 3],
        [2, 3, 0, 1],
    ]
    (row,) = classify({"y": np.array([[nan, 1.0]])}, PLAIN)
    assert row[0].score == 1.0
    assert math.isnan(row[1].score)


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 1), (2, 4, 1, 1)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"])
def test_shapes_and_types_that_networks_give(shape: tuple[int, ...], dtype: str) -> None:
    scores = np.array([[0, 0, 1, 0], [1, 0, 0, 0]]).reshape(shape).astype(dtype)
    assert [row[0].index for row in classify({"y": scores}, PLAIN)] == [2, 0]


@pytest.mark.parametrize("activation", Activation)
def test_a_single_class(activation: Activation) -> None:
    rows = classify({"y": np.zeros((3, 1), np.float32)}, msgspec.structs.replace(PLAIN, activation=activation))
    assert [[c.index for c in row] for row in rows] == [[0], [0], [0]]


def test_no_rows_give_no_answers() -> None:
    assert classify({"y": np.zeros((0, 4), np.float32)}, PLAIN) == []


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ({}, "no output 'y'"),
        ({"z": np.zeros((1, 4))}, "'z'"),
        ({"y": np.zeros(4)}, r"shape \[4\]"),
        ({"y": np.zeros((1, 4, 2))}, r"shape \[1, 4, 2\]"),
        ({"y": np.zeros((1, 0))}, r"shape \[1, 0\]"),
        ({"y": np.zeros(())}, r"shape \[\]"),
        ({"y": np.array([[b"a"]], object)}, "numbers"),
        ({"y": np.zeros((1, 2), np.complex64)}, "numbers"),
    ],
)
def test_outputs_that_are_no_scores_are_refused(outputs: dict[str, np.ndarray], reason: str) -> None:
    with pytest.raises(InvalidTensor, match=reason):
        classify(outputs, PLAIN)


def test_activations_against_their_definition() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 7)) * 4
    softmax = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(activate(scores, Activation.SOFTMAX), softmax, rtol=1e-12)
    np.testing.assert_allclose(activate(scores, Activation.SIGMOID), 1 / (1 + np.exp(-scores)), rtol=1e-12)
    assert activate(scores, Activation.NONE) is scores


def test_activations_do_not_overflow() -> None:
    scores = np.array([[1000.0, -1000.0, 0.0], [-3e38, 3e38, 3e38]], np.float32)
    np.testing.assert_allclose(activate(scores, Activation.SOFTMAX), [[1, 0, 0], [0, 0.5, 0.5]], atol=1e-7)
    np.testing.assert_allclose(activate(scores, Activation.SIGMOID), [[1, 0, 0.5], [0, 1, 1]], atol=1e-7)
    (row, _) = classify({"y": np.array([[np.inf, 0], [np.nan, 1]], np.float32)}, Classification("y"))
    assert {c.index for c in row} == {0, 1}


@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=30), elements=st.floats(-5, 5, width=16)),
    st.integers(1, 35),
)
def test_the_choice_is_that_of_a_full_sort(scores: np.ndarray, top_k: int) -> None:
    rows = classify({"y": scores}, PLAIN, top_k)
    for row, row_scores in zip(rows, scores.tolist(), strict=True):
        expected = sorted(range(len(row_scores)), key=lambda i: (-row_scores[i], i))[:top_k]
        assert [c.index for c in row] == expected
        assert [c.score for c in row] == [row_scores[i] for i in expected]
