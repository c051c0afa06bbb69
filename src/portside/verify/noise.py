"""How far a graph is from itself when it is run in other, equally right ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from portside.engine.base import Engine, Session
from portside.errors import PortsideError
from portside.model.config import EngineConfig, EngineName
from portside.verify.answers import Answer, Key, answer, ask_stage, compare, feed, few, is_batched, load_one
from portside.verify.cases import Case
from portside.verify.parity import Difference
from portside.verify.subject import Stage
from portside.verify.tolerance import Noise, scale_of

_UNEQUAL = 0.01
_ENGINES_AGREE = 1e-3
"""Another engine that is further away than this part of the scale is not noisy but wrong, and counts for nothing."""


def measure_noise(
    stage: Stage,
    cases: Sequence[Case],
    answers: Sequence[Answer],
    engines: Mapping[EngineName, Engine],
    config: EngineConfig,
) -> tuple[dict[Key, Noise], str]:
    """Measures the noise on a few cases of each kind.

    Args:
        stage: the graph.
        cases: the inputs.
        answers: what it answered to them, as ``config`` says.
        engines: the one of ``config``, and perhaps others.
        config: how it was run.

    Returns:
        the noise by kind and output, and what it was measured with, for a person.
    """
    chosen = [i for i in few(cases) if not answers[i].error]
    some, known = [cases[i] for i in chosen], [answers[i] for i in chosen]
    found: dict[Key, Noise] = {}
    used: list[str] = []

    def count(label: str, run: Sequence[Answer], *, other_engine: bool) -> None:
        apart = compare(some, known, run, stage.signature)
        near = {key: d for key, d in apart.items() if not other_engine or _near(d)}
        if near:
            used.append(label)
        for key, difference in near.items():
            before = found.get(key, Noise())
            found[key] = Noise(max(before.floor, difference.max_abs), max(before.unequal, difference.unequal))

    own = engines[config.engine]
    threads = msgspec.structs.replace(config, threads=config.threads + 1)
    count(f"{threads.threads} threads", ask_stage(stage, some, own, threads), other_engine=False)
    count("rows in another order", _turned(stage, some, own, config), other_engine=False)
    for name, engine in engines.items():
        if name is not config.engine:
            there = msgspec.structs.replace(config, engine=name)
            count(f"{name.value} {there.precision.value}", ask_stage(stage, some, engine, there), other_engine=True)
    return found, ", ".join(used) or "nothing: no other way of running it worked"


def _near(found: Difference) -> bool:
    if found.shape_error or not found.nan_equal:
        return False
    return found.max_abs <= _ENGINES_AGREE * scale_of(found) if found.floating else found.unequal <= _UNEQUAL


def _turned(stage: Stage, cases: Sequence[Case], engine: Engine, config: EngineConfig) -> list[Answer]:
    try:
        session = load_one(engine, stage.path, config)
    except PortsideError as e:
        return [Answer(error=e.message)] * len(cases)
    return [_reversed(session, stage, case) for case in cases]


def _reversed(session: Session, stage: Stage, case: Case) -> Answer:
    """The answer to a case whose rows were given last first, put back in order."""
    batch = stage.signature.batch_dim
    turned = {s.name for s in stage.signature.inputs if batch is not None and s.shape[:1] == (batch,)}
    inputs = {name: np.ascontiguousarray(a[::-1]) if name in turned else a for name, a in feed(case, stage).items()}
    got = answer(session, inputs)
    return Answer({n: a[::-1] if is_batched(stage.signature, n) else a for n, a in got.outputs.items()}, got.error)
