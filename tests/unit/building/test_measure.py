from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from portside.building.measure import Baseline, measure, one_row, typical_case
from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.engine.openvino import OpenVinoEngine
from portside.model.config import EngineConfig, EngineName, Precision
from portside.model.evidence import CaseKind
from portside.model.processing import ImageInput, Processing
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec
from portside.verify.cases import Case, make_cases
from portside.verify.subject import Stage, Subject

BEFORE = ImageInput("x", 8, 12, mean=(100.0,) * 3, std=(50.0,) * 3)
AFTER = ImageInput("x", 8, 12, mean=(100.0,) * 3, std=(50.0,) * 3, fused=True)
OUTPUT = (TensorSpec("y", DType.FLOAT32, ("batch", 3)),)
ORT = EngineConfig(EngineName.ONNXRUNTIME, Precision.FP32, 1, 2)
OV = EngineConfig(EngineName.OPENVINO, Precision.FP32, 1, 1)


def picture(level: int) -> bytes:
    out = BytesIO()
    Image.new("RGB", (40, 30), (level, level, level)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    """A graph that takes pixels and gives the mean of each channel."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["f", "axes"], ["y"], keepdims=0),
        ],
        "means",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["batch", 8, 12, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.asarray([1, 2]), "axes")],
    )
    path = tmp_path / "net.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    )
    before = Signature((TensorSpec("x", DType.FLOAT32, ("batch", 3, 8, 12)),), OUTPUT, "batch")
    after = Signature((TensorSpec("x", DType.UINT8, ("batch", 8, 12, 3)),), OUTPUT, "batch")
    return Subject(
        Stage(path, before, Processing(BEFORE)),
        Stage(path, after, Processing(AFTER)),
        "0" * 64,
        raw=(picture(10), picture(200)),
    )


def cases(subject: Subject) -> list[Case]:
    return make_cases(subject.converted.signature, subject.converted.processing, None, 0)


def test_everything_is_timed_and_the_original_gets_what_it_is_used_to(subject: Subject) -> None:
    seen: list[Any] = []
    ticks: list[int] = []

    def original(inputs: Mapping[str, Any]) -> object:
        seen.append((inputs["x"].dtype, inputs["x"].shape, round(float(inputs["x"].mean()), 3)))
        return None

    pairs = [(OnnxRuntimeEngine(), ORT), (OpenVinoEngine(), OV)]
    found = measure(
        subject, typical_case(cases(subject)), pairs, Baseline("Original", original), 0.2, lambda: ticks.append(1)
    )
    for times in (*found.candidates, found.baseline):
        assert times is not None
        assert 0 < times.latency_s <= times.p95_s
        assert times.rows_per_s > 0
    assert found.control > 0
    assert 0 <= found.spread <= 1
    assert found.failures == {}
    assert ticks
    # both pictures took their turns, decoded, normalised, one row each
    expected = {(np.dtype(np.float32), (1, 3, 8, 12), round((level - 100) / 50, 3)) for level in (10, 200)}
    assert expected <= set(seen)


def test_a_configuration_that_fails_leaves_the_others_alone(subject: Subject) -> None:
    pairs = [(OnnxRuntimeEngine(), EngineConfig(EngineName.ONNXRUNTIME, Precision.BF16)), (OpenVinoEngine(), OV)]
    found = measure(subject, cases(subject)[0], pairs, None, 0.1, lambda: None)
    assert found.candidates[0] is None
    assert found.candidates[1] is not None
    assert found.baseline is None
    assert list(found.failures) == [0]
    assert "bf16" in found.failures[0]


def test_nothing_to_time_is_no_error(subject: Subject) -> None:
    found = measure(subject, cases(subject)[0], [], None, 0.1, lambda: None)
    assert (found.candidates, found.baseline, found.control, found.spread) == ((), None, 1.0, 0.0)


def test_real_cases_are_typical_and_one_row_is_enough(subject: Subject) -> None:
    made = cases(subject)
    real = Case("mine", CaseKind.REAL, made[0].inputs, made[0].pixels)
    assert typical_case([*made, real]) is real
    row = one_row(real, subject.converted)
    assert row.inputs["x"].shape == (1, 3, 8, 12)
    assert row.pixels is not None
    assert row.pixels.shape == (1, 8, 12, 3)
    fixed = Stage(Path(), Signature((TensorSpec("x", DType.FLOAT32, (8, 3, 8, 12)),), OUTPUT))
    assert one_row(real, fixed) is real
