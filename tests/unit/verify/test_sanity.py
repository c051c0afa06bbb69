from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portside.model.evidence import CaseKind, Verdict
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec
from portside.verify.answers import Answer
from portside.verify.cases import Case
from portside.verify.parity import Difference
from portside.verify.sanity import batching, echo, exceeds, repeatability, sensitivity
from portside.verify.subject import Stage
from portside.verify.tolerance import Tolerance

SIGNATURE = Signature(
    (TensorSpec("x", DType.FLOAT32, ("batch", 2)),),
    (TensorSpec("y", DType.FLOAT32, ("batch", 2)), TensorSpec("z", DType.FLOAT32, (2,))),
    "batch",
)
ALLOWED = {(CaseKind.REAL, "y"): Tolerance(floor=0.0, limit=0.01, margin=0.02)}


def array(*rows: Any) -> Any:
    return np.asarray(rows, np.float32)


def case(*rows: Any) -> Case:
    return Case("real 0-1", CaseKind.REAL, {"x": array(*rows)})


VARIES = [Answer({"y": array([1, 2], [3, 4])}), Answer({"y": array([5, 6])})]

SAME = Answer({"y": array([7, 7], [7, 7])})


@pytest.mark.parametrize(
    ("found", "golden", "verdict", "said"),
    [
        (VARIES, VARIES, Verdict.PASS, "change with the input"),
        ([Answer({"y": array([1, 2], [1, 2])}), Answer({"y": array([1, 2])})], VARIES, Verdict.FAIL, "'y' is the same"),
        ([Answer({"y": array([1, 2])})], VARIES, Verdict.PASS, "change"),  # one row says nothing
        ([SAME], [SAME], Verdict.INCONCLUSIVE, "proves nothing"),
        (
            [Answer({"y": array([1, 2], [3, 4]), "z": array(1, 1)})] * 2,
            [Answer({"y": array([1, 2], [3, 4]), "z": array(1, 1)})] * 2,
            Verdict.PASS,
            "(except 'z', as in the original)",
        ),
        ([Answer(error="broken")], VARIES, Verdict.PASS, "change"),
    ],
)  # fmt: skip
def test_sensitivity(found: list[Answer], golden: list[Answer], verdict: Verdict, said: str) -> None:
    finding = sensitivity(SIGNATURE, found, golden)
    assert finding.verdict is verdict
    assert said in finding.sentence


def test_an_output_that_is_an_input_is_found() -> None:
    cases = [case([1, 2], [3, 4]), case([5, 6])]
    echoing = [Answer({"y": c.inputs["x"]}) for c in cases]
    other = [Answer({"y": c.inputs["x"] + 1}) for c in cases]
    assert "is just the input 'x'" in echo(cases, echoing, other).sentence
    assert echo(cases, echoing, other).verdict is Verdict.FAIL
    assert echo(cases, other, other).verdict is Verdict.PASS
    assert echo(cases, echoing, echoing).verdict is Verdict.INCONCLUSIVE
    partly = [Answer({"y": cases[0].inputs["x"]}), other[1]]
    assert echo(cases, partly, other).verdict is Verdict.PASS


def test_repetition_is_judged_by_the_limit() -> None:
    cases = [case([1, 2], [3, 4])]
    first, close, far = ([Answer({"y": array([1, 2], [3, 4 + d])})] for d in (0, 0.005, 0.1))
    assert "exactly" in repeatability(SIGNATURE, cases, first, first, ALLOWED).sentence
    assert repeatability(SIGNATURE, cases, first, close, ALLOWED).verdict is Verdict.PASS
    assert repeatability(SIGNATURE, cases, first, far, ALLOWED).verdict is Verdict.FAIL


class Fake:
    """A session that computes ``y = x - part * mean over the rows of x``, and can refuse single rows."""

    input_names = ("x",)
    output_names = ("y",)

    def __init__(self, part: float) -> None:
        self.part = part

    def run(self, inputs: Any) -> dict[str, Any]:
        x = inputs["x"]
        return {"y": x - np.float32(self.part) * x.mean(axis=0, keepdims=True)}


@pytest.mark.parametrize(("part", "verdict"), [(0.0, Verdict.PASS), (0.5, Verdict.FAIL)])
def test_rows_that_influence_each_other_are_found(part: float, verdict: Verdict, tmp_path: Any) -> None:
    cases = [case([1, 2]), case([1, 2], [3, 5])]
    session = Fake(part)
    answers = [Answer(session.run(c.inputs)) for c in cases]
    finding = batching(session, Stage(tmp_path, SIGNATURE), cases, answers, ALLOWED)
    assert finding.verdict is verdict


def test_batching_says_when_it_cannot_be_checked(tmp_path: Any) -> None:
    cases = [case([1, 2])]
    finding = batching(Fake(0), Stage(tmp_path, SIGNATURE), cases, [Answer({"y": array([1, 2])})], ALLOWED)
    assert (finding.verdict, finding.sentence) == (Verdict.PASS, "not checked: no case has several rows")


@pytest.mark.parametrize(
    ("found", "more"),
    [
        (Difference(max_abs=0.01), False),
        (Difference(max_abs=0.02), True),
        (Difference(nan_equal=False), True),
        (Difference(shape_error="is missing"), True),
        (Difference(floating=False, max_abs=3.0, unequal=0.0), False),
        (Difference(floating=False, max_abs=3.0, unequal=0.1), True),
    ],
)
def test_what_is_more_than_noise(found: Difference, *, more: bool) -> None:
    assert exceeds(found, ALLOWED[CaseKind.REAL, "y"]) is more
    assert exceeds(found, None) is bool(found.shape_error or not found.nan_equal)
