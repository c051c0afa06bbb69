from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from portside.engine.base import Session
from portside.errors import EngineFailed, Unsupported
from portside.model.artifact import Format
from portside.model.config import EngineConfig, EngineName, Precision
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec
from portside.serving.fit import fit, load_sessions, safe_config


@pytest.mark.parametrize(
    ("threads", "instances", "cores", "expected"),
    [
        (1, 1, 1, (1, 1)),
        (2, 1, 2, (2, 1)),
        (1, 2, 2, (1, 2)),
        (2, 1, 1, (1, 1)),
        (1, 2, 1, (1, 1)),
        (4, 4, 8, (2, 4)),
        (4, 4, 3, (1, 3)),
        (1, 1, 64, (1, 1)),
        (16, 2, 7, (3, 2)),
    ],
)
def test_fit(threads: int, instances: int, cores: int, expected: tuple[int, int]) -> None:
    fitted = fit(EngineConfig(threads=threads, instances=instances), cores)
    assert (fitted.threads, fitted.instances) == expected
    assert fitted.threads * fitted.instances <= cores


def test_what_runs_everywhere() -> None:
    assert safe_config(6) == EngineConfig(EngineName.ONNXRUNTIME, Precision.FP32, 6, 1)
    assert safe_config(6, 2) == EngineConfig(EngineName.ONNXRUNTIME, Precision.FP32, 3, 2)
    assert safe_config(1, 4) == EngineConfig(EngineName.ONNXRUNTIME, Precision.FP32, 1, 1)


class Refusing:
    """An engine that says it could and then cannot, or does not know the precision."""

    name = EngineName.OPENVINO
    formats = frozenset({Format.ONNX})

    def __init__(self, *precisions: Precision) -> None:
        self._precisions = frozenset(precisions)
        self.asked: list[EngineConfig] = []

    def version(self) -> str:
        return "0"

    def precisions(self) -> frozenset[Precision]:
        return self._precisions

    def load(self, entry: Path, config: EngineConfig) -> Sequence[Session]:
        self.asked.append(config)
        raise EngineFailed("no such instruction")


WISH = EngineConfig(EngineName.OPENVINO, Precision.BF16, 2, 1)


@pytest.mark.parametrize(
    "precisions", [(Precision.FP32,), (Precision.FP32, Precision.BF16)], ids=["unknown", "refused"]
)
def test_another_machine_than_the_tuners_falls_back(
    make: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture, precisions: tuple[Precision, ...]
) -> None:
    manifest = make.manifest(make.line(tmp_path, 3.0), config=WISH)
    refusing = Refusing(*precisions)
    engines = {EngineName.OPENVINO: refusing, EngineName.ONNXRUNTIME: make.engine}
    with caplog.at_level(logging.WARNING):
        sessions = load_sessions(manifest, tmp_path, engines, cores=2)
    assert sessions[0].run({"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[3, 3]]
    assert "cannot run as openvino bf16" in caplog.text
    assert len(refusing.asked) == len(precisions) - 1


def test_an_engine_that_is_not_there_falls_back(make: SimpleNamespace, tmp_path: Path) -> None:
    manifest = make.manifest(make.line(tmp_path), config=WISH)
    assert load_sessions(manifest, tmp_path, {EngineName.ONNXRUNTIME: make.engine}, cores=2)


def test_fewer_cores_and_the_callers_number_of_instances(
    make: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = make.manifest(make.line(tmp_path), config=EngineConfig(threads=1, instances=4))
    engines = {EngineName.ONNXRUNTIME: make.engine}
    with caplog.at_level(logging.WARNING):
        assert len(load_sessions(manifest, tmp_path, engines, cores=2)) == 2
    assert "instead of" in caplog.text
    assert len(load_sessions(manifest, tmp_path, engines, instances=1)) == 1


def test_nothing_works_says_both_reasons(make: SimpleNamespace, tmp_path: Path) -> None:
    manifest = make.manifest(make.line(tmp_path), config=WISH)
    with pytest.raises(
        EngineFailed, match=r"no such instruction; and with onnxruntime fp32 .*: .* installed are: openvino"
    ):
        load_sessions(manifest, tmp_path, {EngineName.OPENVINO: Refusing(Precision.BF16)}, cores=2)
    (tmp_path / "model.onnx").write_bytes(b"junk")
    with pytest.raises(EngineFailed):
        load_sessions(make.manifest(), tmp_path, {EngineName.ONNXRUNTIME: make.engine}, cores=2)


def test_a_format_that_the_engine_does_not_read(make: SimpleNamespace, tmp_path: Path) -> None:
    artifact = msgspec.structs.replace(make.line(tmp_path), format=Format.OPENVINO)
    with pytest.raises(Unsupported, match="openvino-ir"):
        load_sessions(make.manifest(artifact), tmp_path, {EngineName.ONNXRUNTIME: make.engine}, cores=1)


def test_a_graph_that_is_not_what_the_manifest_says(make: SimpleNamespace, tmp_path: Path) -> None:
    other = Signature((TensorSpec("q", DType.FLOAT32, ("batch", 2)),), make.LINE.outputs, "batch")
    manifest = make.manifest(make.line(tmp_path), signature=other)
    with pytest.raises(EngineFailed, match=r"inputs are \['x'\], its manifest says \['q'\]"):
        load_sessions(manifest, tmp_path, {EngineName.ONNXRUNTIME: make.engine}, cores=1)
