"""Whether a loaded graph keeps what its signature promises: names, element types, ranks, extents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from portside.engine.base import Session
from portside.model.signature import Signature
from portside.model.tensors import Array, TensorSpec
from portside.verify.answers import Answer
from portside.verify.cases import Case
from portside.verify.subject import Stage


def broken_names(session: Session, signature: Signature) -> Iterator[str]:
    """Inputs and outputs that are not called what the signature says, one sentence each."""
    for kind, have, want in (
        ("input", session.input_names, [s.name for s in signature.inputs]),
        ("output", session.output_names, [s.name for s in signature.outputs]),
    ):
        missing = [n for n in want if n not in have]
        extra = [n for n in have if n not in want]
        if missing:
            found = f"; it has {_list(extra)} instead" if extra else ""
            yield f"the graph lacks the {kind} {_list(missing)} of its signature{found}: name it as the original does"
        elif extra:
            yield f"the graph has the {kind} {_list(extra)}, which its signature does not name"


def broken_between(converted: Stage, candidate: Stage) -> Iterator[str]:
    """What the candidate's signature lost of the converted graph's, one sentence each."""
    before, after = converted.signature, candidate.signature
    image = candidate.processing.image
    for kind, old, new in (("input", before.inputs, after.inputs), ("output", before.outputs, after.outputs)):
        known = {spec.name: spec for spec in new}
        for spec in old:
            found = known.pop(spec.name, None)
            if found is None:
                yield f"the candidate has no {kind} '{spec.name}', which the original has"
            elif image is not None and image.fused and kind == "input" and spec.name == image.input:
                continue
            elif found.dtype is not spec.dtype or len(found.shape) != len(spec.shape):
                yield f"the candidate's {kind} is {found}, the original's is {spec}"
        for name in known:
            yield f"the candidate has the {kind} '{name}', which the original does not have"
    if before.batch_dim is not None and after.batch_dim is None:
        yield "the original takes any number of rows, the candidate does not: convert it with a dynamic batch"


def broken_shapes(signature: Signature, cases: Sequence[Case], answers: Sequence[Answer]) -> Iterator[str]:
    """Answers whose types or shapes are not those of the signature; one sentence an output."""
    told: set[str] = set()
    for case, answer in zip(cases, answers, strict=True):
        extents = _extents(signature, case)
        for spec in signature.outputs:
            array = answer.outputs.get(spec.name)
            if array is None or spec.name in told:
                continue
            if not _fits(spec, array, extents):
                told.add(spec.name)
                yield (
                    f"output '{spec.name}' is {array.dtype}{list(array.shape)} for the case '{case.name}', "
                    f"its signature says {spec}{_spelled(spec, extents)}"
                )


def failures(cases: Sequence[Case], answers: Sequence[Answer]) -> list[str]:
    """The cases that could not be run, in one sentence (or none)."""
    failed = [(case, answer) for case, answer in zip(cases, answers, strict=True) if answer.error]
    if not failed:
        return []
    case, answer = failed[0]
    shapes = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in case.inputs.items())
    return [f"{len(failed)} of {len(cases)} cases cannot be run; the first is '{case.name}' ({shapes}): {answer.error}"]


def _extents(signature: Signature, case: Case) -> dict[str, int]:
    found: dict[str, int] = {}
    for spec in signature.inputs:
        array = case.inputs.get(spec.name)
        if array is not None and array.ndim == len(spec.shape):
            found |= {d: n for d, n in zip(spec.shape, array.shape, strict=True) if isinstance(d, str)}
    return found


def _fits(spec: TensorSpec, array: Array, extents: Mapping[str, int]) -> bool:
    if array.dtype != spec.dtype.numpy or array.ndim != len(spec.shape):
        return False
    for given, want in zip(array.shape, spec.shape, strict=True):
        known = extents.get(want) if isinstance(want, str) else want
        if known is not None and given != known:
            return False
    return True


def _spelled(spec: TensorSpec, extents: Mapping[str, int]) -> str:
    values = [f"{d}={extents[d]}" for d in spec.shape if isinstance(d, str) and d in extents]
    return f" with {', '.join(values)}" if values else ""


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"'{n}'" for n in names)
