from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portside.building.convert_step import ConvertInput, ConvertOutput, convert
from portside.building.optimize_step import OptimizeInput, optimize
from portside.building.steps import Context
from portside.building.toolbox import Toolbox
from portside.building.tune import Tuned, TuneOptions
from portside.building.tune_step import TuneInput, gate_and_tune
from portside.convert.base import Recognised, Reference
from portside.convert.onnx2onnx import Onnx2Onnx
from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.errors import CorruptArtifact, InvalidSettings
from portside.model.config import EngineName, Precision
from portside.model.evidence import Verdict
from portside.model.processing import Processing
from portside.model.source import Converted, Source
from portside.model.tensors import Array


class Foreign:
    """The ONNX converter under a name that says the original is of another framework."""

    name = "foreign2onnx"

    def __init__(self) -> None:
        self._inner = Onnx2Onnx()

    def recognise(self, source: Source) -> Recognised | None:
        return self._inner.recognise(source)

    def convert(self, source: Source, folder: Path) -> Converted:
        return msgspec.structs.replace(self._inner.convert(source, folder), converter=self.name)

    def reference(self, source: Source, converted: Converted) -> Reference:
        return ForeignReference(self._inner.reference(source, converted))


class ForeignReference:
    framework = "Foreign 1.0"

    def __init__(self, inner: Reference) -> None:
        self._inner = inner

    def set_threads(self, threads: int) -> None:
        self._inner.set_threads(threads)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._inner.run(inputs)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    rng = np.random.default_rng(1)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Add", ["z", "b"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [
            numpy_helper.from_array(rng.normal(size=(4, 3)).astype(np.float32), "w"),
            numpy_helper.from_array(rng.normal(size=3).astype(np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save(model, str(tmp_path / "net.onnx"))
    np.save(tmp_path / "rows.npy", rng.normal(size=(16, 4)).astype(np.float32))
    return Source(str(tmp_path / "net.onnx"))


def context(tmp_path: Path, converter: Onnx2Onnx | Foreign, step: str, progress: Any) -> Context:
    files = tmp_path / "ws" / step / "files"
    files.mkdir(parents=True)
    engine = OnnxRuntimeEngine()
    return Context(Toolbox([converter], {engine.name: engine}, [], [], ()), tmp_path / "ws", files, progress)


def prepare(source: Source, tmp_path: Path, converter: Onnx2Onnx | Foreign, shown: Any) -> tuple[TuneInput, Context]:
    samples = str(tmp_path / "rows.npy")
    to_convert = ConvertInput(source, Processing(), samples, 64, 0, 1)
    converted = convert(to_convert, context(tmp_path, converter, "convert", shown))
    to_optimize = OptimizeInput(converted.converted, Processing(), False)
    optimized = optimize(to_optimize, context(tmp_path, converter, "optimize", shown))
    options = TuneOptions(engines=(EngineName.ONNXRUNTIME,), precisions=(Precision.FP32,), budget_s=0.5)
    given = TuneInput(source, converted, optimized, options, seed=0)
    shown.calls.clear()
    return given, context(tmp_path, converter, "tune", shown)


def phases(shown: Any) -> list[object]:
    return [call[1] for call in shown.calls if call[0] == "start"]


def test_the_baseline_is_the_original_framework(source: Source, tmp_path: Path, shown: Any) -> None:
    given, inside = prepare(source, tmp_path, Foreign(), shown)
    tuned = gate_and_tune(given, inside)
    assert isinstance(tuned, Tuned)
    assert tuned.evidence.verdict is Verdict.PASS, tuned.evidence.reasons
    assert tuned.evidence.real_rows == 16
    assert tuned.measurements[0].label == "Foreign 1.0"
    assert tuned.config.engine is EngineName.ONNXRUNTIME
    assert phases(shown) == ["verify", "tune"]
    assert msgspec.json.decode(msgspec.json.encode(tuned), type=Tuned) == tuned


def test_a_graph_has_no_framework_to_be_compared_with(source: Source, tmp_path: Path, shown: Any) -> None:
    given, inside = prepare(source, tmp_path, Onnx2Onnx(), shown)
    tuned = gate_and_tune(given, inside)
    assert {row.engine for row in tuned.measurements} == {"onnxruntime"}


def test_what_the_conversion_noticed_is_in_the_evidence(source: Source, tmp_path: Path, shown: Any) -> None:
    given, inside = prepare(source, tmp_path, Onnx2Onnx(), shown)
    noticed: ConvertOutput = msgspec.structs.replace(
        given.converted, noise={"y": 1e-6, "z": 3e-6}, refused=("zeros x1",), skipped=("a.png: damaged",)
    )
    checks = gate_and_tune(msgspec.structs.replace(given, converted=noticed), inside).evidence.checks
    assert "3e-06" in checks["framework noise"]
    assert "zeros x1" in checks["left out"]
    assert checks["unreadable samples"] == "a.png: damaged"


def test_missing_cases_and_nothing_to_choose_from(source: Source, tmp_path: Path, shown: Any) -> None:
    given, inside = prepare(source, tmp_path, Onnx2Onnx(), shown)
    with pytest.raises(InvalidSettings):
        gate_and_tune(msgspec.structs.replace(given, options=TuneOptions(engines=(EngineName.OPENVINO,))), inside)
    shutil.rmtree(tmp_path / "ws" / "convert")
    with pytest.raises(CorruptArtifact):
        gate_and_tune(given, inside)
