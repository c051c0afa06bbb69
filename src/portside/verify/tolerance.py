"""What counts as the same answer. The rules, and why they are these, are in docs/adr/0003-tolerances.md."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import msgspec

from portside.model.config import Precision
from portside.model.evidence import CaseKind, OutputParity
from portside.model.tensors import DType
from portside.verify.parity import Difference

_FLOORS = 8.0
"""A difference of up to this many measured noise floors is noise."""
_OF_SCALE = {DType.FLOAT16: 1e-2}
_OF_SCALE_DEFAULT = 1e-4
"""Rounding may move an element by this part of the output's scale, however quiet the noise was measured."""
_TOO_NOISY = 1e-2
"""A noise floor over this part of the scale hides faults."""

_SCORES_RMS = 0.10
_VALUES_RMS = 0.02
_SYNTHETIC = 3.0
_WORST_ROW = 2.0
"""How much larger than on average the relative error of one row of class scores may be."""
_PEAK = 8.0
_SIGMAS = 3.0
_FLIPS = 0.05
_LARGEST = sys.float_info.max
_SILENT_LIMIT = 1e-7
"""For an output that is zero everywhere, which has no scale."""


class Tolerance(msgspec.Struct, frozen=True):
    """The largest differences that pass, for one output and one kind of case.

    Attributes:
        floor: measured noise, absolute.
        limit: for ``max_abs``.
        rms: for the error's root mean square, as a part of the reference's.
        cosine: the least cosine similarity of a row.
        margin: a largest element that was at least this far ahead must not lose its place.
        flips: part of the ranked rows whose largest element may move; one row may, always.
        unequal: part of the elements of a non-float output that may be different.
    """

    floor: float
    limit: float
    margin: float
    rms: float = math.inf
    cosine: float = -1.0
    flips: float = 1.0
    unequal: float = 0.0


class Noise(msgspec.Struct, frozen=True):
    """What running the converted graph in other, equally right ways does to one output.

    Attributes:
        floor: largest absolute difference.
        unequal: largest part of unequal elements.
    """

    floor: float = 0.0
    unequal: float = 0.0


class Rule(msgspec.Struct, frozen=True):
    """What a tolerance depends on besides the numbers.

    Attributes:
        kind: which cases.
        dtype: of the output.
        precision: arithmetic of the candidate.
        scores: whether the output is declared to be class scores, of which only the order is used.
    """

    kind: CaseKind
    dtype: DType
    precision: Precision = Precision.FP32
    scores: bool = False


def scale_of(reference: Difference) -> float:
    """The size of an output's numbers: its root mean square, or a tenth of its peak where it is mostly zeros."""
    return max(reference.reference_rms, reference.reference_max / 10)


def too_noisy(reference: Difference, noise: Noise) -> bool:
    """Whether the reference's own noise hides faults, so that no verdict can rest on this output."""
    scale = scale_of(reference)
    if not reference.floating:
        return noise.unequal > _FLIPS
    return scale > 0 and noise.floor > _TOO_NOISY * scale


def tolerance(reference: Difference, noise: Noise, rule: Rule) -> Tolerance:
    """The tolerance for one output.

    Args:
        reference: any comparison against the reference's numbers (only those are looked at).
        noise: measured.
        rule: what else decides.
    """
    scale = scale_of(reference)
    part = _OF_SCALE.get(rule.dtype, _OF_SCALE_DEFAULT)
    limit = min(max(_FLOORS * noise.floor, part * scale) or _SILENT_LIMIT, _LARGEST)
    if rule.precision is Precision.FP32:
        return Tolerance(noise.floor, limit, margin=2 * limit, unequal=_FLOORS * noise.unequal)
    return _reduced(rule, scale, noise, limit)


def _reduced(rule: Rule, scale: float, noise: Noise, exact: float) -> Tolerance:
    """Reduced precision moves every element: what counts is the error's energy, and the order of class scores."""
    real = rule.kind is CaseKind.REAL
    rms = (_SCORES_RMS if rule.scores else _VALUES_RMS) * (1.0 if real else _SYNTHETIC)
    row = rms * (_WORST_ROW if rule.scores and real else 1.0)
    return Tolerance(
        noise.floor,
        limit=min(max(exact, _PEAK * row * scale), _LARGEST),
        margin=max(2 * exact, _SIGMAS * math.sqrt(2) * rms * scale),
        rms=rms,
        cosine=(1 - row * row / 2 if rule.scores else 1 - rms * rms) if real else -1.0,
        flips=_FLIPS if real and rule.scores else 1.0,
        unequal=max(_FLIPS, _FLOORS * noise.unequal),
    )


def judge(name: str, rule: Rule, found: Difference, allowed: Tolerance) -> OutputParity:
    """One row of the report: the numbers, the limit, and whether they pass."""
    confident = sum(f.margin > allowed.margin for f in found.flips)
    reason = next(_broken(name, rule, found, allowed, confident), "")
    return OutputParity(
        name=name,
        kind=rule.kind,
        rows=found.rows,
        max_abs=found.max_abs,
        mean_abs=found.mean_abs,
        max_rel=found.max_rel,
        mean_rel=found.mean_rel,
        cosine=found.cosine,
        reference_std=found.reference_std,
        floor=allowed.floor,
        limit=allowed.limit,
        nan_equal=found.nan_equal,
        top1=found.top1 / found.ranked if found.ranked else None,
        top5=found.top5 / found.ranked if found.ranked and found.top5 is not None else None,
        confident_flips=confident,
        passed=not reason,
        reason=reason,
    )


def _broken(name: str, rule: Rule, found: Difference, allowed: Tolerance, confident: int) -> Iterator[str]:
    """The limits that the numbers break, one sentence each, the gravest first."""
    where = f"output '{name}' on {rule.kind.value} inputs"
    worst = f" (worst in row {', '.join(map(str, found.worst))})" if found.worst else ""
    if found.shape_error:
        yield f"{where} {found.shape_error}"
    if not found.nan_equal:
        yield f"{where} has NaN or infinity in other places than the reference{worst}"
    if not found.floating:
        if found.unequal > allowed.unequal:
            yield f"{where}: {found.unequal:.3%} of the elements differ, at most {allowed.unequal:.3%} may{worst}"
        return
    if found.max_abs > allowed.limit:
        yield f"{where} is off by up to {found.max_abs:.3g}, the limit is {allowed.limit:.3g}{worst}"
    if found.reference_rms > 0 and found.rms > allowed.rms * found.reference_rms:
        share = found.rms / found.reference_rms
        yield f"{where} has a relative RMS error of {share:.3g}, the limit is {allowed.rms:.3g}{worst}"
    if found.cosine < allowed.cosine:
        yield f"{where} has a row with cosine similarity {found.cosine:.5f}, at least {allowed.cosine:.5f} is needed"
    if confident:
        yield f"{where}: the largest element moved in {confident} row(s) where it was clearly ahead{worst}"
    if len(found.flips) > max(1.0, allowed.flips * found.ranked):
        yield (
            f"{where}: the largest element moved in {len(found.flips)} of {found.ranked} rows, "
            f"at most {allowed.flips:.0%} may"
        )
