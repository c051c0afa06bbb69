"""The frozen record of one published version."""

from __future__ import annotations

import msgspec

from portside.errors import CorruptArtifact
from portside.model.artifact import Artifact, ArtifactFile
from portside.model.config import EngineConfig, Goal
from portside.model.evidence import Evidence, Measurement, Verdict
from portside.model.processing import Processing
from portside.model.signature import Signature

SCHEMA = 1
"""Version of the manifest's own form; a reader refuses a newer one."""


class Provenance(msgspec.Struct, frozen=True):
    """Where a version came from.

    Attributes:
        source: what was converted, as the user named it (no machine path beyond what was typed).
        framework: framework and version that the golden outputs come from.
        converter: name of the converter.
        source_digest: SHA-256 of the source's files, or of the import path where there is none.
        opset: ONNX opset of the graph, 0 where it does not apply.
        ir_version: ONNX IR version, likewise.
        passes: graph passes that were applied, in order.
        portside: version of Portside that built it.
    """

    source: str
    framework: str
    converter: str
    source_digest: str
    opset: int
    ir_version: int
    passes: tuple[str, ...]
    portside: str


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One immutable version.

    Attributes:
        name: the model.
        version: positive; assigned by the repository when it is published, 0 before.
        created: UTC, ISO 8601.
        signature: what it takes and gives.
        artifact: the files that an engine loads, with digests.
        config: the engine and threads that the tuner chose.
        provenance: where it came from.
        evidence: what verification found.
        processing: what happens before and after the graph.
        goal: what the tuner optimised for.
        measurements: the tuner's table.
        forced: published although the verdict is not ``pass``.
        attachments: other files of the version (the report), with digests.
        schema: form of this record.
    """

    name: str
    version: int
    created: str
    signature: Signature
    artifact: Artifact
    config: EngineConfig
    provenance: Provenance
    evidence: Evidence
    processing: Processing = Processing()
    goal: Goal = Goal.LATENCY
    measurements: tuple[Measurement, ...] = ()
    forced: bool = False
    attachments: tuple[ArtifactFile, ...] = ()
    schema: int = SCHEMA

    @property
    def verdict(self) -> Verdict:
        """Shorthand for the evidence's verdict."""
        return self.evidence.verdict


def encode(value: msgspec.Struct) -> bytes:
    """A value of this package as indented UTF-8 JSON, keys in declaration order, non-finite floats as null."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def decode_manifest(data: bytes) -> Manifest:
    """Reads a manifest.

    Raises:
        CorruptArtifact: not JSON, of another form, or written by a newer Portside.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as e:
        raise CorruptArtifact(f"the manifest cannot be read: {e}; verify the repository") from e
    if manifest.schema > SCHEMA:
        raise CorruptArtifact(
            f"the manifest has schema {manifest.schema}, this Portside reads up to {SCHEMA}: install a newer Portside"
        )
    return manifest
