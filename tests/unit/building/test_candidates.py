from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from portside.building.candidates import Way, configs, splits, ways
from portside.engine.base import Session
from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.engine.openvino import OpenVinoEngine
from portside.model.artifact import Format
from portside.model.config import EngineConfig, EngineName, Precision

ORT, OV = EngineName.ONNXRUNTIME, EngineName.OPENVINO
FP32, BF16 = Precision.FP32, Precision.BF16
BOTH = {ORT: OnnxRuntimeEngine(), OV: OpenVinoEngine(isa=("avx512_bf16",))}


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (0, [(1, 1)]),
        (1, [(1, 1)]),
        (2, [(2, 1), (1, 2)]),
        (3, [(3, 1), (1, 2), (1, 3)]),
        (4, [(4, 1), (2, 2), (1, 4)]),
        (6, [(6, 1), (3, 2), (1, 4), (1, 6)]),
        (8, [(8, 1), (4, 2), (2, 4), (1, 8)]),
        (64, [(64, 1), (32, 2), (16, 4), (1, 64)]),
    ],
)
def test_cores_are_divided_between_one_instance_and_many(cores: int, expected: list[tuple[int, int]]) -> None:
    assert splits(cores) == expected
    assert all(threads * instances <= max(1, cores) for threads, instances in splits(cores))


@pytest.mark.parametrize(
    ("allowed", "precisions", "expected"),
    [
        ((ORT, OV), (FP32, BF16), [(ORT, FP32), (OV, FP32), (OV, BF16)]),
        ((OV, ORT), (BF16, FP32), [(ORT, FP32), (OV, FP32), (OV, BF16)]),
        ((OV,), (FP32,), [(OV, FP32)]),
        ((ORT,), (BF16,), []),
        ((), (FP32,), []),
    ],
)
def test_ways_are_what_engines_and_callers_both_allow(
    allowed: Sequence[EngineName], precisions: Sequence[Precision], expected: list[tuple[EngineName, Precision]]
) -> None:
    assert ways(BOTH, Format.ONNX, allowed, precisions) == [Way(*pair) for pair in expected]


def test_an_engine_that_is_not_installed_or_does_not_read_the_format_is_left_out() -> None:
    assert ways({ORT: OnnxRuntimeEngine()}, Format.ONNX, (ORT, OV), (FP32,)) == [Way(ORT, FP32)]
    assert ways(BOTH, Format.OPENVINO, (ORT, OV), (FP32,)) == [Way(OV, FP32)]


def test_a_way_becomes_one_configuration_a_split() -> None:
    assert configs(Way(OV, BF16), 2) == [EngineConfig(OV, BF16, 2, 1), EngineConfig(OV, BF16, 1, 2)]


def test_a_processor_without_bfloat16_has_no_such_way() -> None:
    class Plain(OpenVinoEngine):
        def load(self, entry: Path, config: EngineConfig) -> Sequence[Session]:
            raise AssertionError

    assert ways({OV: Plain(isa=())}, Format.ONNX, (OV,), (FP32, BF16)) == [Way(OV, FP32)]
