"""Signatures and manifests that the codecs are tried with."""

from __future__ import annotations

import msgspec
import pytest

from portside.model.artifact import Artifact, Format
from portside.model.config import EngineConfig
from portside.model.evidence import Evidence, Host, SelfTest, Verdict
from portside.model.manifest import Manifest, Provenance
from portside.model.processing import Classification, ImageInput, Processing
from portside.model.ref import ModelRef
from portside.model.signature import Signature
from portside.model.tensors import Dim, DType, TensorSpec
from portside.protocol.base import Limits


def spec(name: str, dtype: DType = DType.FLOAT32, shape: tuple[Dim, ...] = ("batch", 4)) -> TensorSpec:
    return TensorSpec(name, dtype, shape)


class World(msgspec.Struct, frozen=True):
    """What most tests need."""

    limits: Limits = Limits()
    ref: ModelRef = ModelRef("m")
    one: Signature = Signature((spec("x"),), (spec("y", shape=("batch", 3)),), "batch")
    two: Signature = Signature(
        (spec("a", shape=("batch", 2)), spec("b", DType.INT32, ("batch",))),
        (spec("p", shape=("batch", 2)), spec("q_bytes", DType.STRING, ("batch",))),
        "batch",
    )
    picture: Signature = Signature(
        (spec("image", DType.UINT8, ("batch", 2, 2, 3)),), (spec("scores", shape=("batch", 5)),), "batch"
    )

    def of(self, dtype: DType, *shape: Dim) -> Signature:
        """One input ``x`` and one output ``y`` of a type."""
        return Signature((spec("x", dtype, shape),), (spec("y", dtype, shape),), "batch" if "batch" in shape else None)

    def manifest(self, signature: Signature, processing: Processing | None = None) -> Manifest:
        artifact = Artifact(Format.ONNX, "model.onnx", ())
        evidence = Evidence(Verdict.PASS, (), "0", "", (), SelfTest(True, True), Host("test", (), 1, {}), 0, 1)
        provenance = Provenance("test", "onnx", "onnx2onnx", "0" * 64, 17, 9, (), "0")
        return Manifest(
            "m",
            7,
            "2026-01-01T00:00:00Z",
            signature,
            artifact,
            EngineConfig(),
            provenance,
            evidence,
            processing or Processing(),
        )

    def classifier(self) -> Manifest:
        """A model that takes pictures."""
        image = ImageInput("image", 2, 2, fused=True)
        return self.manifest(self.picture, Processing(image, Classification("scores")))


@pytest.fixture(scope="session")
def world() -> World:
    return World()
