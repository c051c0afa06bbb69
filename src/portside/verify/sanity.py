"""Signs that a graph does not do what a network does, whatever its numbers: it ignores its input, or repeats it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from portside.engine.base import Session
from portside.model.evidence import Verdict
from portside.model.signature import Signature
from portside.model.tensors import Array
from portside.verify.answers import Answer, Key, answer, compare, feed, is_batched
from portside.verify.cases import Case
from portside.verify.parity import Difference
from portside.verify.subject import Stage
from portside.verify.tolerance import Tolerance


class Finding(msgspec.Struct, frozen=True):
    """What one further check found.

    Attributes:
        name: of the check.
        sentence: what was found, and what to do where something is wrong.
        verdict: what it means for the whole.
    """

    name: str
    sentence: str
    verdict: Verdict = Verdict.PASS


def sensitivity(signature: Signature, answers: Sequence[Answer], golden: Sequence[Answer]) -> Finding:
    """Whether the outputs depend on the input at all, where those of the original do."""
    name = "sensitivity"
    constant, as_before = _constant(signature, answers), _constant(signature, golden)
    lost = sorted(constant - as_before)
    if lost:
        sentence = f"the output {_list(lost)} is the same for every input: a part of the graph is cut off from it"
        return Finding(name, sentence, Verdict.FAIL)
    if constant and constant == {output for a in answers for output in a.outputs}:
        sentence = (
            "the original answers the same to every input, so agreement with it proves nothing: "
            "give samples that it tells apart"
        )
        return Finding(name, sentence, Verdict.INCONCLUSIVE)
    note = f" (except {_list(sorted(constant))}, as in the original)" if constant else ""
    return Finding(name, f"the outputs change with the input{note}")


def echo(cases: Sequence[Case], answers: Sequence[Answer], golden: Sequence[Answer]) -> Finding:
    """Whether an output is nothing but an input, where that of the original is not."""
    name = "echo"
    found, as_before = _echoes(cases, answers), _echoes(cases, golden)
    fresh = sorted(set(found) - set(as_before))
    if fresh:
        sentence = f"the output '{fresh[0]}' is just the input '{found[fresh[0]]}': a part of the graph was skipped"
        return Finding(name, sentence, Verdict.FAIL)
    if as_before and set(as_before) == {output for a in golden for output in a.outputs}:
        sentence = (
            "the original hands its inputs out unchanged, so there is nothing to verify: is it the right network?"
        )
        return Finding(name, sentence, Verdict.INCONCLUSIVE)
    return Finding(name, "no output is just an input")


def repeatability(
    signature: Signature,
    cases: Sequence[Case],
    first: Sequence[Answer],
    second: Sequence[Answer],
    allowed: Mapping[Key, Tolerance],
) -> Finding:
    """Whether the same inputs get the same answers twice."""
    name = "repeatability"
    apart = compare(cases, first, second, signature)
    for (kind, output), difference in apart.items():
        if exceeds(difference, allowed.get((kind, output))):
            sentence = (
                f"the output '{output}' differs by {difference.max_abs:.3g} between two runs on the same input: "
                "is there dropout or another source of chance in the graph? Convert it in evaluation mode"
            )
            return Finding(name, sentence, Verdict.FAIL)
    largest = max((d.max_abs for d in apart.values()), default=0.0)
    return Finding(name, f"two runs differ by {largest:.2g}" if largest else "two runs give exactly the same answers")


def batching(
    session: Session,
    stage: Stage,
    cases: Sequence[Case],
    answers: Sequence[Answer],
    allowed: Mapping[Key, Tolerance],
) -> Finding:
    """Whether a row gets the same answer alone as among others."""
    name = "batching"
    index = max(range(len(cases)), key=lambda i: 0 if answers[i].error else _row_count(stage, cases[i]))
    if _row_count(stage, cases[index]) < 2 or answers[index].error:
        return Finding(name, "not checked: no case has several rows")
    rows = list(_rows_alone(session, stage, cases[index], answers[index]))
    signature = stage.signature
    apart = compare([case for case, _, _ in rows], [b for _, b, _ in rows], [a for _, _, a in rows], signature)
    failed = next((case.name + ": " + alone.error for case, _, alone in rows if alone.error), "")
    if failed:
        return Finding(name, f"a row that was answered in a batch cannot be run alone ({failed})", Verdict.FAIL)
    for (kind, output), difference in apart.items():
        if exceeds(difference, allowed.get((kind, output))):
            by = difference.shape_error or f"differs by {difference.max_abs:.3g}"
            sentence = (
                f"the output '{output}' of a row {by} when other rows are beside it: the graph mixes the rows of a "
                "batch; convert it in evaluation mode, with the batch on axis 0"
            )
            return Finding(name, sentence, Verdict.FAIL)
    return Finding(name, f"{len(rows)} rows get the same answer alone as in a batch")


def exceeds(found: Difference, allowed: Tolerance | None) -> bool:
    """Whether a difference between two runs of one graph is more than noise."""
    if found.shape_error or not found.nan_equal:
        return True
    if allowed is None:
        return False
    return found.max_abs > allowed.limit if found.floating else found.unequal > allowed.unequal


def _rows_alone(session: Session, stage: Stage, case: Case, given: Answer) -> Iterator[tuple[Case, Answer, Answer]]:
    """The first, middle and last row of a case: itself, what it got in the batch, what it gets alone."""
    signature, count = stage.signature, _row_count(stage, case)
    batched = {s.name for s in signature.inputs if s.shape[:1] == (signature.batch_dim,)}
    for row in dict.fromkeys((0, count // 2, count - 1)):
        inputs = {
            n: np.ascontiguousarray(a[row : row + 1]) if n in batched else a for n, a in feed(case, stage).items()
        }
        within = {n: a[row : row + 1] if is_batched(signature, n) else a for n, a in given.outputs.items()}
        renamed = msgspec.structs.replace(case, name=f"{case.name}, row {row}")
        yield renamed, Answer(within), answer(session, inputs)


def _row_count(stage: Stage, case: Case) -> int:
    batch = stage.signature.batch_dim
    if batch is None:
        return 1
    fed = feed(case, stage)
    return next((len(fed[s.name]) for s in stage.signature.inputs if s.shape[:1] == (batch,) and s.name in fed), 1)


def _constant(signature: Signature, answers: Sequence[Answer]) -> set[str]:
    """Outputs that are the same in every row of every answer (at least two rows of one shape)."""
    first: dict[tuple[str, tuple[int, ...]], Array] = {}
    repeated: set[str] = set()
    varying: set[str] = set()
    for given in answers:
        for name, array in given.outputs.items():
            for row in array if is_batched(signature, name) and array.ndim else array[np.newaxis]:
                known = first.setdefault((name, row.shape), row)
                if known is not row:
                    repeated.add(name)
                    if not _same(known, row):
                        varying.add(name)
    return repeated - varying


def _echoes(cases: Sequence[Case], answers: Sequence[Answer]) -> dict[str, str]:
    """Outputs that equal an input in every case, with the input's name."""
    found: dict[str, str] | None = None
    for case, given in zip(cases, answers, strict=True):
        if given.error:
            continue
        here = {
            output: name
            for output, array in given.outputs.items()
            for name, fed in case.inputs.items()
            if array.shape == fed.shape and array.dtype == fed.dtype and _same(array, fed)
        }
        found = here if found is None else {o: name for o, name in found.items() if here.get(o) == name}
    return found or {}


def _same(a: Array, b: Array) -> bool:
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"'{n}'" for n in names)
