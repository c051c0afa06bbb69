from __future__ import annotations

from typing import Any

import msgspec
import pytest

from portside.model.config import Precision
from portside.model.evidence import CaseKind
from portside.model.tensors import DType
from portside.verify.parity import Difference, Flip
from portside.verify.tolerance import Noise, Rule, Tolerance, judge, scale_of, tolerance, too_noisy

LOGITS = Difference(rows=40, reference_rms=1.25, reference_std=1.25, reference_max=11.0, ranked=40, top1=40)
EXACT = Rule(CaseKind.REAL, DType.FLOAT32)
REDUCED = Rule(CaseKind.REAL, DType.FLOAT32, Precision.BF16, scores=True)


def changed(**changes: Any) -> Difference:
    return msgspec.structs.replace(LOGITS, **changes)


def test_the_scale_is_the_energy_or_a_tenth_of_the_peak() -> None:
    assert scale_of(LOGITS) == 1.25
    assert scale_of(changed(reference_rms=0.03, reference_max=0.95)) == pytest.approx(0.095)


@pytest.mark.parametrize(
    ("floor", "limit"),
    [(0.0, 1.25e-4), (1e-5, 1.25e-4), (1e-4, 8e-4), (1e-3, 8e-3)],
)
def test_exact_arithmetic_is_limited_by_noise_and_scale(floor: float, limit: float) -> None:
    allowed = tolerance(LOGITS, Noise(floor), EXACT)
    assert allowed.limit == pytest.approx(limit)
    assert allowed.margin == pytest.approx(2 * limit)
    assert allowed.floor == floor


def test_half_precision_outputs_are_coarser() -> None:
    assert tolerance(LOGITS, Noise(), Rule(CaseKind.REAL, DType.FLOAT16)).limit == pytest.approx(1.25e-2)


def test_the_limit_goes_with_the_scale_and_never_is_zero() -> None:
    tiny = changed(reference_rms=1.25e-9, reference_max=1e-8)
    assert tolerance(tiny, Noise(), EXACT).limit == pytest.approx(1.25e-13)
    assert tolerance(changed(reference_rms=0.0, reference_max=0.0), Noise(), EXACT).limit == 1e-7


@pytest.mark.parametrize(
    ("rule", "rms", "cosine", "limit", "flips"),
    [
        (REDUCED, 0.10, 0.98, 2.0, 0.05),
        (msgspec.structs.replace(REDUCED, scores=False), 0.02, 0.9996, 0.2, 1.0),
        (msgspec.structs.replace(REDUCED, kind=CaseKind.RANDOM), 0.30, -1.0, 3.0, 1.0),
        (msgspec.structs.replace(REDUCED, kind=CaseKind.EDGE, scores=False), 0.06, -1.0, 0.6, 1.0),
    ],
)
def test_reduced_precision_is_limited_by_energy_and_order(
    rule: Rule, rms: float, cosine: float, limit: float, flips: float
) -> None:
    allowed = tolerance(LOGITS, Noise(1e-5), rule)
    assert allowed.rms == pytest.approx(rms)
    assert allowed.cosine == pytest.approx(cosine)
    assert allowed.limit == pytest.approx(limit)
    assert allowed.flips == flips


@pytest.mark.parametrize(
    ("reference", "noise", "noisy"),
    [
        (LOGITS, Noise(1e-5, unequal=0.9), False),
        (LOGITS, Noise(0.02), True),
        (changed(floating=False), Noise(unequal=0.9), True),
        (changed(floating=False), Noise(1.0, unequal=0.01), False),
        (changed(reference_rms=0.0, reference_max=0.0), Noise(1.0), False),
    ],
)
def test_too_much_noise_hides_faults(reference: Difference, noise: Noise, *, noisy: bool) -> None:
    assert too_noisy(reference, noise) is noisy


ALLOWED = Tolerance(floor=1e-5, limit=0.5, margin=0.4, rms=0.1, cosine=0.99, flips=0.05, unequal=0.01)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (changed(max_abs=0.5, rms=0.12, cosine=0.995), ""),
        (changed(shape_error="is missing"), "is missing"),
        (changed(nan_equal=False, max_abs=9.0), "has NaN or infinity in other places"),
        (changed(max_abs=0.51, worst=(3, 1)), "is off by up to 0.51, the limit is 0.5 (worst in row 3, 1)"),
        (changed(rms=0.13), "has a relative RMS error of 0.104, the limit is 0.1"),
        (changed(cosine=0.98), "cosine similarity 0.98000, at least 0.99000"),
        (changed(top1=39, flips=(Flip(2, 0.41),)), "moved in 1 row(s) where it was clearly ahead"),
        (changed(top1=38, flips=(Flip(2, 0.3), Flip(3, 0.3))), ""),
        (changed(top1=37, flips=(Flip(2, 0.3),) * 3), "moved in 3 of 40 rows, at most 5% may"),
        (changed(ranked=4, top1=3, flips=(Flip(0, 0.1),)), ""),
        (changed(floating=False, max_abs=9.0, unequal=0.01), ""),
        (changed(floating=False, unequal=0.02), "2.000% of the elements differ, at most 1.000% may"),
    ],
)
def test_judgements(found: Difference, said: str) -> None:
    row = judge("scores", REDUCED, found, ALLOWED)
    assert row.passed is (not said)
    assert said in row.reason
    assert (row.name, row.kind, row.rows, row.limit, row.floor) == ("scores", CaseKind.REAL, 40, 0.5, 1e-5)


def test_shares_are_of_the_rows_that_can_be_ranked() -> None:
    row = judge("y", EXACT, changed(rows=50, ranked=40, top1=30, top5=20), ALLOWED)
    assert (row.top1, row.top5) == (0.75, 0.5)
    unranked = judge("y", EXACT, changed(ranked=0, top1=0), ALLOWED)
    assert (unranked.top1, unranked.top5) == (None, None)
