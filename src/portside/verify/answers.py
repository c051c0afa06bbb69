"""Asks a loaded graph all cases, and compares what it answers with what another one answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from portside.engine.base import Engine, Session
from portside.errors import PortsideError
from portside.model.config import EngineConfig
from portside.model.evidence import CaseKind
from portside.model.signature import Signature
from portside.model.tensors import Array
from portside.processing.normalise import normalise
from portside.verify.cases import Case
from portside.verify.parity import Comparison, Difference
from portside.verify.subject import Stage

Key: TypeAlias = tuple[CaseKind, str]
"""One row of the report: a kind of case and an output."""

_FEW = {CaseKind.REAL: 2, CaseKind.RANDOM: 1, CaseKind.EDGE: 1}
"""Cases of each kind for what has to be run many times: noise, self-test, repetition."""


class Answer(msgspec.Struct, frozen=True):
    """What a graph answered to one case.

    Attributes:
        outputs: by name; empty if it failed.
        error: why it failed, or empty.
    """

    outputs: Mapping[str, Array] = {}
    error: str = ""


def feed(case: Case, stage: Stage) -> Mapping[str, Array]:
    """The inputs of a case as a graph takes them: pixels go through the stage's own processing."""
    image = stage.processing.image
    if image is None or case.pixels is None:
        return case.inputs
    return {image.input: case.pixels if image.fused else normalise(case.pixels, image)}


def ask(session: Session, stage: Stage, cases: Sequence[Case]) -> list[Answer]:
    """The answers to all cases, in order. A case that fails is an answer too."""
    return [answer(session, feed(case, stage)) for case in cases]


def answer(session: Session, inputs: Mapping[str, Array]) -> Answer:
    """One answer."""
    try:
        return Answer(session.run(inputs))
    except PortsideError as e:
        return Answer(error=e.message)


def ask_stage(stage: Stage, cases: Sequence[Case], engine: Engine, config: EngineConfig) -> list[Answer]:
    """Loads a stage and asks it. A stage that cannot be loaded answers nothing."""
    try:
        session = load_one(engine, stage.path, config)
    except PortsideError as e:
        return [Answer(error=e.message)] * len(cases)
    return ask(session, stage, cases)


def load_one(engine: Engine, stage_path: Path, config: EngineConfig) -> Session:
    """One session, whatever the number of instances. Raises EngineFailed, Unsupported."""
    return engine.load(stage_path, msgspec.structs.replace(config, instances=1))[0]


def compare(
    cases: Sequence[Case], reference: Sequence[Answer], found: Sequence[Answer], signature: Signature
) -> dict[Key, Difference]:
    """How far two lists of answers are apart, by kind of case and output.

    Cases that either side could not answer are left out (they are reported as such). An output that is missing is a
    difference in shape.
    """
    collected: dict[Key, Comparison] = {}
    for case, a, b in zip(cases, reference, found, strict=True):
        if a.error or b.error:
            continue
        for name, array in a.outputs.items():
            comparison = collected.setdefault((case.kind, name), Comparison(batched=is_batched(signature, name)))
            if name in b.outputs:
                comparison.add(array, b.outputs[name])
            else:
                comparison.missing()
    return {key: comparison.result() for key, comparison in collected.items()}


def is_batched(signature: Signature, output: str) -> bool:
    """Whether axis 0 of an output is the rows."""
    batch = signature.batch_dim
    return batch is not None and any(s.name == output and s.shape[:1] == (batch,) for s in signature.outputs)


def few(cases: Sequence[Case]) -> list[int]:
    """Indices of a few cases of each kind, those with the most rows, real ones first."""
    chosen: list[int] = []
    for kind in CaseKind:
        of_kind = [i for i, case in enumerate(cases) if case.kind is kind]
        chosen += sorted(of_kind, key=lambda i: -_rows(cases[i]))[: _FEW[kind]]
    return chosen


def _rows(case: Case) -> int:
    return max((array.shape[0] for array in case.inputs.values() if array.ndim), default=1)
