from __future__ import annotations

from pathlib import Path

import pytest

from portside.model.artifact import Artifact
from portside.model.config import EngineConfig
from portside.model.evidence import Evidence, Host, SelfTest, Verdict
from portside.model.manifest import Manifest, Provenance
from portside.model.signature import Signature


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "built"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"graph " * 1000)
    return folder


@pytest.fixture
def manifest(files: Path) -> Manifest:
    artifact = Artifact.of(files, "model.onnx", [])
    evidence = Evidence(Verdict.PASS, (), artifact.digest, "", (), SelfTest(True, True), Host("cpu", (), 1, {}), 0, 1)
    provenance = Provenance("iris.pt", "torch", "torch2onnx", "0" * 64, 17, 10, (), "0.1.0")
    return Manifest(
        "iris", 0, "2026-01-01T00:00:00Z", Signature((), ()), artifact, EngineConfig(), provenance, evidence
    )
