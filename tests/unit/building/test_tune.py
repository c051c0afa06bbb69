from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from portside.building.tune import Baseline, Tuned, TuneOptions, tune
from portside.engine.base import Engine, Session
from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.engine.openvino import OpenVinoEngine
from portside.errors import EngineFailed, InvalidSettings
from portside.model.config import EngineConfig, EngineName, Goal, Precision
from portside.model.evidence import Verdict
from portside.model.processing import Processing
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec
from portside.observe.null import NullProgress
from portside.verify.cases import Case, make_cases
from portside.verify.subject import Stage, Subject

SIGNATURE = Signature(
    (TensorSpec("x", DType.FLOAT32, ("batch", 4)),), (TensorSpec("y", DType.FLOAT32, ("batch", 3)),), "batch"
)
ORT, OV = EngineName.ONNXRUNTIME, EngineName.OPENVINO
QUICK = TuneOptions(cores=2, precisions=(Precision.FP32,), budget_s=0.2)


class Rows:
    pixels = None

    def __init__(self, count: int) -> None:
        x = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
        self.arrays = {"x": x} if count else {}


@pytest.fixture(scope="module")
def network() -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    weights = {"w": rng.normal(size=(4, 16)), "v": rng.normal(size=(16, 3))}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Relu", ["h"], ["a"]),
            helper.make_node("MatMul", ["a", "v"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture(scope="module")
def engines() -> Mapping[EngineName, Engine]:
    return {ORT: OnnxRuntimeEngine(), OV: OpenVinoEngine()}


@pytest.fixture
def subject(network: onnx.ModelProto, tmp_path: Path) -> Subject:
    path = tmp_path / "net.onnx"
    path.write_bytes(network.SerializeToString())
    stage = Stage(path, SIGNATURE)
    return Subject(stage, stage, "0" * 64)


@pytest.fixture(scope="module")
def original(network: onnx.ModelProto) -> Any:
    evaluator = ReferenceEvaluator(network)
    return lambda inputs: {"y": evaluator.run(None, dict(inputs))[0]}


def asked(original: Any, rows: int = 12, factor: float = 1.0) -> list[Case]:
    made = make_cases(SIGNATURE, Processing(), Rows(rows), 0)
    return [
        msgspec.structs.replace(case, expected={"y": original(case.inputs)["y"] * np.float32(factor)}) for case in made
    ]


def chosen(tuned: Tuned) -> Any:
    rows = [m for m in tuned.measurements if m.chosen]
    assert len(rows) == 1
    return rows[0]


@pytest.mark.parametrize("goal", list(Goal))
def test_everything_is_measured_and_the_best_is_chosen(
    goal: Goal, subject: Subject, original: Any, engines: Mapping[EngineName, Engine], shown: Any
) -> None:
    options = msgspec.structs.replace(QUICK, goal=goal)
    tuned = tune(subject, asked(original), engines, options, Baseline("Reference 1.0", original, 1), shown)
    base, *rows = tuned.measurements
    assert (base.label, base.engine, base.verdict, base.speedup) == ("Reference 1.0", "reference", None, 1.0)
    assert [(m.engine, m.threads, m.instances) for m in rows] == [
        (engine.value, threads, instances) for engine in (ORT, OV) for threads, instances in ((2, 1), (1, 2))
    ]
    for m in rows:
        assert m.verdict is Verdict.PASS
        assert min(m.latency_ms, m.p95_ms, m.throughput_rps) > 0
        assert m.speedup == pytest.approx(base.latency_ms / m.latency_ms)
        assert m.top1 == 1.0
        assert m.max_abs is not None
        assert m.max_abs < 1e-4
        assert m.chosen or m.reason
    winner = chosen(tuned)
    assert tuned.config == EngineConfig(EngineName(winner.engine), Precision.FP32, winner.threads, winner.instances)
    assert tuned.evidence.verdict is Verdict.PASS
    assert tuned.evidence.config == str(tuned.config)
    assert "under two names" in tuned.evidence.checks["timing"]
    assert [call[:2] for call in shown.calls if call[0] == "start"] == [("start", "verify"), ("start", "tune")]
    assert sum(call[0] == "finish" for call in shown.calls) == 2


def test_engines_and_precisions_can_be_restricted(subject: Subject, original: Any, engines: Any) -> None:
    options = msgspec.structs.replace(QUICK, engines=(OV,), cores=1)
    tuned = tune(subject, asked(original), engines, options, None, NullProgress())
    assert tuned.config == EngineConfig(OV, Precision.FP32, 1, 1)
    assert [m.engine for m in tuned.measurements] == ["openvino"]
    assert tuned.measurements[0].speedup == pytest.approx(1.0)


def test_when_nothing_passes_the_closest_is_returned_as_failed(subject: Subject, original: Any, engines: Any) -> None:
    tuned = tune(subject, asked(original, factor=1.01), engines, QUICK, None, NullProgress())
    assert tuned.evidence.verdict is Verdict.FAIL
    assert "the conversion broke it" in " ".join(tuned.evidence.reasons)
    assert [m.verdict for m in tuned.measurements] == [Verdict.FAIL, Verdict.FAIL]
    assert all("off by up to" in m.reason for m in tuned.measurements)
    assert chosen(tuned).engine == tuned.config.engine.value


def test_without_samples_the_fastest_is_chosen_but_not_proven(subject: Subject, original: Any, engines: Any) -> None:
    tuned = tune(subject, asked(original, rows=0), engines, QUICK, None, NullProgress())
    assert tuned.evidence.verdict is Verdict.INCONCLUSIVE
    assert len(tuned.measurements) == 4
    assert {m.verdict for m in tuned.measurements} == {Verdict.INCONCLUSIVE}
    assert chosen(tuned).latency_ms > 0


class Wrong(OpenVinoEngine):
    """An engine whose answers are off by a tenth, whatever it is asked."""

    def load(self, entry: Path, config: EngineConfig) -> Sequence[Session]:
        return [Tenth(session) for session in super().load(entry, config)]


class Tenth:
    def __init__(self, inner: Session) -> None:
        self.input_names, self.output_names, self._run = inner.input_names, inner.output_names, inner.run

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: array * np.float32(1.1) for name, array in self._run(inputs).items()}


def test_an_engine_that_computes_wrongly_is_shown_but_not_chosen(subject: Subject, original: Any) -> None:
    tuned = tune(subject, asked(original), {ORT: OnnxRuntimeEngine(), OV: Wrong(isa=())}, QUICK, None, NullProgress())
    assert [m.verdict for m in tuned.measurements if m.engine == "openvino"] == [Verdict.FAIL]
    failed = next(m for m in tuned.measurements if m.engine == "openvino")
    assert "off by" in failed.reason
    assert failed.latency_ms > 0
    # nor does what it does count as noise, by which the other engine would be excused
    assert tuned.config.engine is ORT
    assert tuned.evidence.verdict is Verdict.PASS
    assert all(row.limit < 0.01 for row in tuned.evidence.outputs)


class Unloadable(OpenVinoEngine):
    """An engine that cannot be loaded with several instances (out of memory, say)."""

    def load(self, entry: Path, config: EngineConfig) -> Sequence[Session]:
        if config.instances > 1:
            raise EngineFailed("not enough memory for a second instance")
        return super().load(entry, config)


def test_a_configuration_that_cannot_be_loaded_is_a_row_with_a_reason(subject: Subject, original: Any) -> None:
    tuned = tune(subject, asked(original), {OV: Unloadable(isa=())}, QUICK, None, NullProgress())
    assert tuned.config == EngineConfig(OV, Precision.FP32, 2, 1)
    assert tuned.evidence.verdict is Verdict.PASS
    lost = tuned.measurements[1]
    assert (lost.latency_ms, lost.verdict) == (0.0, Verdict.FAIL)
    assert lost.reason == "not enough memory for a second instance"


class WrongAlone(OpenVinoEngine):
    """An engine whose answers are wrong with one thread only."""

    def load(self, entry: Path, config: EngineConfig) -> Sequence[Session]:
        sessions = super().load(entry, config)
        return [Tenth(session) for session in sessions] if config.threads == 1 else sessions


def test_the_chosen_threads_are_checked_themselves(subject: Subject, original: Any) -> None:
    engines = {ORT: OnnxRuntimeEngine(), OV: WrongAlone(isa=())}
    options = msgspec.structs.replace(QUICK, engines=(OV,))
    cases = asked(original)
    tuned = tune(subject, cases, engines, options, None, NullProgress())
    assert tuned.config.threads == 2
    assert tuned.evidence.verdict is Verdict.PASS


class Gone(OpenVinoEngine):
    """An engine that can be loaded for the check, and never again after it."""

    left = 2

    def load(self, entry: Path, config: EngineConfig) -> Sequence[Session]:
        if entry.name == "net.onnx":
            self.left -= 1
            if self.left < 0:
                raise EngineFailed("the memory is gone")
        return super().load(entry, config)


def test_what_cannot_be_loaded_again_is_not_published(subject: Subject, original: Any) -> None:
    engines = {ORT: OnnxRuntimeEngine(), OV: Gone(isa=())}
    options = msgspec.structs.replace(QUICK, engines=(OV,))
    tuned = tune(subject, asked(original), engines, options, None, NullProgress())
    assert tuned.evidence.verdict is Verdict.FAIL
    assert tuned.evidence.reasons == ("the memory is gone",)
    assert {m.reason for m in tuned.measurements} == {"the memory is gone"}


def test_nothing_to_choose_from_is_an_error(subject: Subject, original: Any, engines: Any) -> None:
    options = msgspec.structs.replace(QUICK, engines=(ORT,), precisions=(Precision.BF16,))
    with pytest.raises(InvalidSettings, match=r"none of the allowed engines \(onnxruntime\) runs this model in bf16"):
        tune(subject, asked(original), engines, options, None, NullProgress())
