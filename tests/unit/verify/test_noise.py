from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portside.engine.base import Engine, Session
from portside.engine.openvino import OpenVinoEngine
from portside.errors import EngineFailed
from portside.model.config import EngineConfig, EngineName, Precision
from portside.model.evidence import CaseKind
from portside.verify.answers import ask_stage
from portside.verify.noise import measure_noise

ORT, OV = EngineName.ONNXRUNTIME, EngineName.OPENVINO
EXACT = EngineConfig(ORT, Precision.FP32, 1, 1)


class Shifted(OpenVinoEngine):
    """An engine whose answers are all shifted."""

    def __init__(self, by: float) -> None:
        super().__init__(isa=())
        self.by = by

    def load(self, entry: Path, config: EngineConfig) -> Sequence[Session]:
        return [ShiftedSession(session, self.by) for session in super().load(entry, config)]


class ShiftedSession:
    def __init__(self, inner: Session, by: float) -> None:
        self.input_names, self.output_names, self._run, self._by = inner.input_names, inner.output_names, inner.run, by

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: array + np.float32(self._by) for name, array in self._run(inputs).items()}


class Absent(OpenVinoEngine):
    def load(self, entry: Path, config: EngineConfig) -> Sequence[Session]:
        raise EngineFailed("not today")


def measured(net: Any, subject: Any, engines: Mapping[EngineName, Engine]) -> Any:
    stage, cases = subject(net).converted, net.cases()
    answers = ask_stage(stage, cases, engines[ORT], EXACT)
    return measure_noise(stage, cases, answers, engines, EXACT)


def test_noise_is_small_and_known_for_every_kind_and_output(cnn: Any, subject: Any, engines: Any) -> None:
    noise, used = measured(cnn, subject, engines)
    assert set(noise) == {(kind, name) for kind in CaseKind for name in ("scores", "features")}
    assert used == "2 threads, rows in another order, openvino fp32"
    assert all(0 <= found.floor < 1e-4 for found in noise.values())


@pytest.mark.parametrize(("by", "counted"), [(1e-4, True), (1.0, False)])
def test_another_engine_counts_unless_it_is_wrong(
    by: float, *, counted: bool, mlp: Any, subject: Any, engines: Any
) -> None:
    noise, used = measured(mlp, subject, {ORT: engines[ORT], OV: Shifted(by)})
    assert ("openvino" in used) is counted
    floor = noise[CaseKind.REAL, "y"].floor
    assert floor == pytest.approx(by, rel=0.1) if counted else floor < 1e-4


def test_an_engine_that_cannot_load_the_graph_is_left_out(mlp: Any, subject: Any, engines: Any) -> None:
    noise, used = measured(mlp, subject, {ORT: engines[ORT], OV: Absent(isa=())})
    assert used == "2 threads, rows in another order"
    assert noise


def test_a_graph_that_nobody_loads_has_no_noise(mlp: Any, subject: Any, engines: Any) -> None:
    stage, cases = subject(mlp).converted, mlp.cases()
    stage.path.write_bytes(b"nothing")
    answers = ask_stage(stage, cases, engines[ORT], EXACT)
    assert all(answer.error for answer in answers)
    assert measure_noise(stage, cases, answers, engines, EXACT) == ({}, "nothing: no other way of running it worked")
