"""The verifier's test of itself: under one tolerance a model passes against itself, and a spoiled copy of it fails."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from portside.errors import PortsideError
from portside.model.config import EngineConfig
from portside.model.evidence import SelfTest
from portside.verify.answers import Answer, ask, compare, few, load_one
from portside.verify.gauge import Gauge
from portside.verify.yardstick import Yardstick


def self_test(
    measure: Yardstick, gauge: Gauge, config: EngineConfig, first: Sequence[Answer], again: Sequence[Answer]
) -> SelfTest:
    """Tests the verifier on a few cases of each kind.

    Args:
        measure: holds the spoiled copy.
        gauge: the very tolerances that the candidate is judged by.
        config: as the candidate is run.
        first: the candidate's answers to those cases (:func:`portside.verify.answers.few`).
        again: its answers when asked again.
    """
    cases, signature = [measure.cases[i] for i in few(measure.cases)], measure.subject.candidate.signature
    identity = gauge.passes(compare(cases, first, again, signature))
    if measure.spoiled is None:
        return SelfTest(identity, False, measure.spoil_error)
    stage = msgspec.structs.replace(measure.subject.candidate, path=measure.spoiled.path)
    try:
        session = load_one(measure.engines[config.engine], stage.path, config)
    except PortsideError as e:
        return SelfTest(identity, False, f"{measure.spoiled.what} (the copy cannot be loaded: {e.message})")
    apart = compare(cases, first, ask(session, stage, cases), signature)
    return SelfTest(identity, bool(apart) and not gauge.passes(apart), measure.spoiled.what)
