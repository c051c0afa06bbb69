"""The batch axis, example inputs, and which axes follow which."""

from __future__ import annotations

import numpy as np
import pytest

from portside.convert.interface import declared, observe, output_names, rows_are_independent
from portside.convert.shapes import (
    Observed,
    check_declared,
    example,
    follow,
    other_extents,
    symbols,
    trials,
    with_batch,
)
from portside.errors import ConversionFailed, InvalidSettings
from portside.model.signature import Signature
from portside.model.source import parse_input
from portside.model.tensors import TensorSpec


def specs(*texts: str) -> tuple[TensorSpec, ...]:
    return tuple(map(parse_input, texts))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("x=float32[n,3]",), ("x: float32[batch, 3]",)),
        (("x=float32[n,n]",), ("x: float32[batch, batch]",)),
        (("x=float32[n,3]", "y=float32[n,t]"), ("x: float32[batch, 3]", "y: float32[batch, t]")),
        (("x=float32[n,3]", "y=float32[m,3]"), ("x: float32[n, 3]", "y: float32[m, 3]")),
        (("x=float32[t,batch]",), ("x: float32[t, batch]",)),
        (("x=float32[1,t]",), ("x: float32[1, t]",)),
        (("x=float32[n,3]", "k=float32[]"), ("x: float32[batch, 3]", "k: float32[]")),
    ],
)
def test_the_symbol_at_axis_0_is_the_batch(given: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert tuple(map(str, with_batch(specs(*given)))) == expected


def test_trials_tell_symbols_apart_first() -> None:
    given = specs("x=float32[batch,3,h,w]")
    first = next(trials(given))
    assert first["batch"] == 2
    assert len(set(first.values())) == 3
    assert {"batch": 2, "h": 224, "w": 224} in list(trials(given))
    assert list(trials(specs("x=float32[1,3]"))) == [{}]
    assert other_extents({"batch": 2, "h": 8}) == {"batch": 3, "h": 16}


def test_examples_have_the_declared_types_and_shapes() -> None:
    given = specs("x=float16[batch,3]", "i=int64[batch]", "b=bool[batch]", "s=string[batch,2]", "k=float32[]")
    made = example(given, {"batch": 2})
    Signature(given, (), "batch").check(made)
    assert made["i"].tolist() == [1, 1]
    np.testing.assert_array_equal(made["x"], example(given, {"batch": 2})["x"])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((2, 5), (3, 5), ("batch", 5)),
        ((2, 8), (3, 16), ("batch", "h")),
        ((8, 4), (16, 8), ("h", "y_1")),
        ((6,), (9,), ("y_0",)),
    ],
)
def test_axes_that_follow(first: tuple[int, ...], second: tuple[int, ...], expected: tuple[object, ...]) -> None:
    runs = [Observed({"batch": 2, "h": 8}, (first,)), Observed({"batch": 3, "h": 16}, (second,))]
    assert follow("y", 0, len(first), runs) == expected


def test_observing_tries_extents_until_the_network_takes_them() -> None:
    tried = []

    def run(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        tried.append(arrays["x"].shape)
        if arrays["x"].shape[1] % 32 or arrays["x"].shape[1] < 224:
            raise ValueError("the side must be at least 224")
        return [arrays["x"][:, ::32]]

    runs, given = observe(run, specs("x=float32[batch,side]"))
    assert given["x"].shape == (2, 224)
    assert [r.shapes for r in runs] == [((2, 7),), ((3, 14),)]
    assert tried[0] == (2, 64)


def test_a_network_that_takes_nothing_shows_what_it_said_first() -> None:
    def run(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        raise ValueError(f"no {arrays['x'].shape[1]} please\nmore")

    with pytest.raises(ConversionFailed, match=r"no 64 please; check") as caught:
        observe(run, specs("x=float32[batch,side]"))
    assert "more" in str(caught.value.detail)


@pytest.mark.parametrize(
    ("own", "given", "expected"),
    [
        (("",), (), ("output",)),
        (("", ""), (), ("output_0", "output_1")),
        (("score", "map"), (), ("score", "map")),
        (("x", "x"), (), ("x_output", "x_output_")),
        (("", ""), ("a", "b"), ("a", "b")),
    ],
)
def test_output_names(own: tuple[str, ...], given: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert output_names(own, given, specs("x=float32[batch]")) == expected


@pytest.mark.parametrize("given", [("a",), ("a", "a"), ("a", ""), ("a", "x")])
def test_output_names_that_cannot_be(given: tuple[str, ...]) -> None:
    with pytest.raises(InvalidSettings):
        output_names(("", ""), given, specs("x=float32[batch]"))


def test_declarations_refine_what_a_source_says() -> None:
    own = specs("a=float32[batch,a_1]", "b=int64[1]")
    assert declared(own, (), may_open=False) == own
    wish = specs("b=int64[n]", "a=float32[n,9]")
    assert [str(s) for s in declared(own, wish, may_open=True)] == ["a: float32[batch, 9]", "b: int64[batch]"]
    with pytest.raises(InvalidSettings, match="b: int64"):
        declared(own, wish, may_open=False)


def test_nothing_declared_shows_how() -> None:
    with pytest.raises(InvalidSettings, match=r"--input 'x=float32\[batch,3,224,224\]'"):
        check_declared((), "it")
    assert symbols(specs("x=float32[n,3,n,m]")) == ("n", "m")


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda a: [a["x"] * 2], True),
        (lambda a: [a["x"] - a["x"].mean(0)], False),
        (lambda a: [np.cumsum(a["x"], 0)], False),
        (lambda a: [a["x"] * len(a["x"])], False),
        (lambda a: [(a["x"] > 0)], True),
        (lambda a: [a["x"] * np.nan], True),
        (lambda a: [a["x"].reshape(2, 3)], False),
    ],
)
def test_rows_that_depend_on_each_other_are_found(run: object, *, expected: bool) -> None:
    given = specs("x=float32[batch,3]")
    signature = Signature(given, specs("y=float32[batch,3]"), "batch")
    assert rows_are_independent(run, signature, example(given, {"batch": 2})) is expected  # type: ignore[arg-type]
