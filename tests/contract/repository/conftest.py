from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from portside.model.artifact import Artifact, file_entry
from portside.model.config import EngineConfig
from portside.model.evidence import Evidence, Host, SelfTest, Verdict
from portside.model.manifest import Manifest, Provenance
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec
from portside.repository.base import Repository
from portside.repository.local import LocalRepository

Make = Callable[..., Manifest]

SIGNATURE = Signature(
    (TensorSpec("x", DType.FLOAT32, ("batch", 4)),), (TensorSpec("y", DType.FLOAT32, ("batch", 3)),), "batch"
)
PROVENANCE = Provenance("iris.pt", "torch 2.13.0", "torch2onnx", "0" * 64, 17, 10, (), "0.1.0")


@pytest.fixture(params=[LocalRepository], ids=["local"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    """Every implementation of the port, empty."""
    made: Repository = request.param(tmp_path / "models")
    return made


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "built"
    (folder / "weights").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"graph " * 1000)
    (folder / "weights" / "w0.bin").write_bytes(bytes(range(256)) * 50)
    (folder / "report.html").write_text("<p>verified</p>", encoding="utf-8")
    return folder


@pytest.fixture
def manifest(files: Path) -> Make:
    """Makes the record of what lies in ``files``."""

    def make(name: str = "iris", verdict: Verdict = Verdict.PASS) -> Manifest:
        artifact = Artifact.of(files, "model.onnx", ["weights/w0.bin"])
        reasons = () if verdict is Verdict.PASS else ("y differs by 3.0",)
        evidence = Evidence(
            verdict, reasons, artifact.digest, "", (), SelfTest(True, True), Host("cpu", (), 1, {}), 0, 1
        )
        return Manifest(
            name,
            0,
            "2026-01-01T00:00:00Z",
            SIGNATURE,
            artifact,
            EngineConfig(),
            PROVENANCE,
            evidence,
            attachments=(file_entry(files, "report.html"),),
        )

    return make
