"""How far answers lie from a reference: numbers only, no judgement."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from portside.model.tensors import Array

_Float64 = npt.NDArray[np.float64]

WORST_ROWS = 3
"""How many of the worst rows are named."""
_NEAR_ZERO = 1e-3
"""Elements smaller than this part of the row's largest have no meaningful relative error."""
_TOP = 5


class Flip(msgspec.Struct, frozen=True):
    """A row whose largest element moved.

    Attributes:
        row: which row.
        margin: how far the reference's largest element was above its second.
    """

    row: int
    margin: float


class Difference(msgspec.Struct, frozen=True):
    """How one output differs from its reference over some rows. Every number is finite.

    Attributes:
        rows: rows compared.
        shape_error: why arrays could not be compared (a sentence), or empty.
        floating: whether the elements are floats; others (integers, booleans, strings) are only equal or not.
        max_abs: largest absolute difference over elements finite on both sides.
        mean_abs: mean absolute difference, likewise.
        max_rel: largest ``2|a-b| / (|a|+|b|)``, elements near zero masked.
        mean_rel: its mean.
        rms: root of the mean squared difference.
        cosine: smallest cosine similarity of a row, -1..1.
        reference_std: standard deviation of the reference.
        reference_rms: root mean square of the reference.
        reference_max: largest magnitude in the reference.
        unequal: part of the elements that are not exactly equal.
        nan_equal: whether NaN and infinity stand in the same places.
        ranked: rows for which the place of the largest element means something.
        top1: rows (of ``ranked``) whose largest element is at the same index.
        top5: rows whose five largest are the same set; ``None`` for fewer than six elements a row.
        flips: the rows that ``top1`` lacks.
        worst: rows with the largest differences, worst first.
    """

    rows: int = 0
    shape_error: str = ""
    floating: bool = True
    max_abs: float = 0.0
    mean_abs: float = 0.0
    max_rel: float = 0.0
    mean_rel: float = 0.0
    rms: float = 0.0
    cosine: float = 1.0
    reference_std: float = 0.0
    reference_rms: float = 0.0
    reference_max: float = 0.0
    unequal: float = 0.0
    nan_equal: bool = True
    ranked: int = 0
    top1: int = 0
    top5: int | None = None
    flips: tuple[Flip, ...] = ()
    worst: tuple[int, ...] = ()


class Comparison:
    """Collects rows of one output, one call of the model after the other.

    Args:
        batched: whether axis 0 is the rows; otherwise a whole array is one row.
    """

    def __init__(self, *, batched: bool) -> None:
        self._batched = batched
        self._rows: list[_Row] = []
        self._shape_error = ""
        self._floating = True

    def add(self, reference: Array, candidate: Array) -> None:
        """One call's arrays. Arrays of different shape or kind are noted, not compared."""
        if reference.shape != candidate.shape or reference.dtype != candidate.dtype:
            self._shape_error = self._shape_error or (
                f"is {candidate.dtype}{list(candidate.shape)} where the reference is "
                f"{reference.dtype}{list(reference.shape)}"
            )
            return
        self._floating = reference.dtype.kind == "f"
        measure = _equality_row if reference.dtype.kind in "OSU" else _numeric_row
        self._rows += [measure(a, b) for a, b in zip(self._split(reference), self._split(candidate), strict=True)]

    def missing(self) -> None:
        """One call that lacks this output."""
        self._shape_error = self._shape_error or "is missing"

    def result(self) -> Difference:
        """The sum over all rows added so far."""
        if not self._rows:
            return Difference(shape_error=self._shape_error, floating=self._floating)
        return _summary(self._rows, self._shape_error, floating=self._floating)

    def _split(self, array: Array) -> Iterator[Array]:
        return iter(array if self._batched and array.ndim else array[np.newaxis])


class _Row(msgspec.Struct, frozen=True):
    elements: int
    finite: int
    unequal: int
    nan_equal: bool
    max_abs: float = 0.0
    sum_abs: float = 0.0
    sum_square: float = 0.0
    relative: int = 0
    max_rel: float = 0.0
    sum_rel: float = 0.0
    cosine: float = 1.0
    ref_finite: int = 0
    ref_sum: float = 0.0
    ref_square: float = 0.0
    ref_max: float = 0.0
    ranked: bool = False
    top1: bool = False
    top5: bool | None = None
    margin: float = 0.0


def _equality_row(a: Array, b: Array) -> _Row:
    unequal = int(np.count_nonzero(np.asarray(a != b)))
    return _Row(elements=a.size, finite=0, unequal=unequal, nan_equal=True, max_abs=float(unequal > 0))


def _numeric_row(a: Array, b: Array) -> _Row:
    unequal = int(np.count_nonzero(~((a == b) | ((a != a) & (b != b)))))  # noqa: PLR0124 -- NaN is not itself
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    finite_x = np.isfinite(x)
    both = finite_x & np.isfinite(y)
    nan_equal = bool(np.array_equal(x[~finite_x], y[~finite_x], equal_nan=True) and both.sum() == finite_x.sum())
    with np.errstate(all="ignore"):
        row = _measured(x[both], y[both], x[finite_x])
    if a.dtype.kind == "f" and bool(finite_x.all()):
        row |= _ranks(a, b)
    equality = _Row(elements=a.size, finite=int(both.sum()), unequal=unequal, nan_equal=nan_equal)
    return msgspec.structs.replace(equality, **row)


def _measured(x: _Float64, y: _Float64, reference: _Float64) -> dict[str, Any]:
    """Numbers of one row: ``x`` and ``y`` finite on both sides, ``reference`` all finite elements of the reference."""
    if not x.size:
        return {}
    apart = np.abs(x - y)
    relative = _relative(x, y)
    return {
        "max_abs": float(apart.max()),
        "sum_abs": float(apart.sum()),
        "sum_square": float(np.square(apart).sum()),
        "relative": relative.size,
        "max_rel": float(relative.max(initial=0.0)),
        "sum_rel": float(relative.sum()),
        "cosine": _cosine(x, y),
        "ref_finite": reference.size,
        "ref_sum": float(reference.sum()),
        "ref_square": float(np.square(reference).sum()),
        "ref_max": float(np.abs(reference).max()),
    }


def _relative(x: _Float64, y: _Float64) -> _Float64:
    """Symmetric relative differences of the elements that are not near zero."""
    # Scaled first, like the cosine: sums of very large numbers leave the range of a float.
    largest = max(np.abs(x).max(), np.abs(y).max())
    if largest == 0.0:
        return np.zeros(0)
    x, y = x / largest, y / largest
    sums = np.abs(x) + np.abs(y)
    telling = sums > _NEAR_ZERO * sums.max()
    return np.asarray(2.0 * np.abs(x - y)[telling] / sums[telling])


def _cosine(x: _Float64, y: _Float64) -> float:
    largest = np.abs(x).max(), np.abs(y).max()
    if largest == (0.0, 0.0):
        return 1.0
    if 0.0 in largest:
        return 0.0
    # Scaled first: squares of very large or very small numbers leave the range of a float.
    x, y = x / largest[0], y / largest[1]
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def _ranks(a: Array, b: Array) -> dict[str, Any]:
    """Whether the best places agree, for a row that is a list of scores (trailing extents of 1 are dropped)."""
    classes = a.size
    if classes < 2 or a.shape[0] != classes:
        return {}
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    order = np.argpartition(x, classes - 2)[-2:]
    second, first = sorted(float(x[i]) for i in order)
    usable = bool(np.isfinite(y).all())
    # A tie in the reference has no first place that could move.
    same = usable and (int(y.argmax()) == int(x.argmax()) or float(x[int(y.argmax())]) == first)
    ranks: dict[str, Any] = {"ranked": True, "top1": same, "margin": first - second}
    if classes > _TOP:
        best = np.sort(x)[-_TOP]
        chosen = np.argpartition(y, classes - _TOP)[-_TOP:] if usable else np.zeros(0, np.intp)
        ranks["top5"] = usable and bool((x[chosen] >= best).all())
    return ranks


def _summary(rows: list[_Row], shape_error: str, *, floating: bool) -> Difference:
    def total(field: str) -> float:
        return float(sum(getattr(r, field) for r in rows))

    finite, ref_finite = max(1.0, total("finite")), max(1.0, total("ref_finite"))
    mean, square = total("ref_sum") / ref_finite, total("ref_square") / ref_finite
    order = sorted(range(len(rows)), key=lambda i: (rows[i].nan_equal, -rows[i].max_abs))
    judged = [r.top5 for r in rows if r.top5 is not None]
    return Difference(
        rows=len(rows),
        shape_error=shape_error,
        floating=floating,
        max_abs=_bounded(max(r.max_abs for r in rows)),
        mean_abs=_bounded(total("sum_abs") / finite),
        max_rel=_bounded(max(r.max_rel for r in rows)),
        mean_rel=_bounded(total("sum_rel") / max(1.0, total("relative"))),
        rms=_bounded(np.sqrt(total("sum_square") / finite)),
        cosine=min(r.cosine for r in rows),
        reference_std=_bounded(np.sqrt(max(0.0, square - mean * mean))),
        reference_rms=_bounded(np.sqrt(square)),
        reference_max=_bounded(max(r.ref_max for r in rows)),
        unequal=total("unequal") / max(1.0, total("elements")),
        nan_equal=all(r.nan_equal for r in rows),
        ranked=sum(r.ranked for r in rows),
        top1=sum(r.top1 for r in rows),
        top5=sum(judged) if judged else None,
        flips=tuple(Flip(i, _bounded(r.margin)) for i, r in enumerate(rows) if r.ranked and not r.top1),
        worst=tuple(i for i in order[:WORST_ROWS] if rows[i].max_abs > 0 or not rows[i].nan_equal),
    )


def _bounded(value: float) -> float:
    """A number that JSON can hold."""
    if value != value:  # noqa: PLR0124 -- NaN is not itself
        return sys.float_info.max
    return float(min(max(value, -sys.float_info.max), sys.float_info.max))
