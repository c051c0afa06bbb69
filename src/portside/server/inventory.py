"""``GET /api/models``: what the page shows about the models. JSON, for people and scripts; not a wire protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from portside.model.config import EngineConfig
from portside.model.manifest import Manifest
from portside.model.status import VersionStatus
from portside.protocol.base import HttpReply


class InputInfo(msgspec.Struct, frozen=True):
    """One input or output of a model.

    Attributes:
        name: as in the graph.
        dtype: element type.
        shape: extents; a name is a dimension of any extent.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class VersionInfo(msgspec.Struct, frozen=True):
    """One version.

    Attributes:
        version: its number.
        state: where it is in its life.
        reason: why it failed; empty otherwise.
        aliases: names that point at it.
        current: whether requests without a version go to it.
        verdict: of verification.
        forced: published although it did not pass.
        engine: how it runs.
        kind: ``image`` or ``tensors``: what ``POST /predict`` takes.
        labels: how many classes have a name.
        framework: what it was trained in.
        created: when it was built.
        inputs: its inputs.
        outputs: its outputs.
    """

    version: int
    state: str
    reason: str
    aliases: tuple[str, ...]
    current: bool
    verdict: str | None = None
    forced: bool = False
    engine: EngineConfig | None = None
    kind: str | None = None
    labels: int = 0
    framework: str = ""
    created: str = ""
    inputs: tuple[InputInfo, ...] = ()
    outputs: tuple[InputInfo, ...] = ()


class ModelInfo(msgspec.Struct, frozen=True):
    """One model with the versions that the server knows, newest first."""

    name: str
    versions: tuple[VersionInfo, ...]


class Inventory(msgspec.Struct, frozen=True):
    """All models, by name.

    Attributes:
        ready: whether the server answers for all that it should.
        models: sorted by name.
    """

    ready: bool
    models: tuple[ModelInfo, ...]


def inventory(statuses: Iterable[VersionStatus], *, ready: bool) -> Inventory:
    """Puts together what the page shows."""
    by_name: dict[str, list[VersionStatus]] = {}
    for status in statuses:
        by_name.setdefault(status.name, []).append(status)
    models = tuple(ModelInfo(name, _versions(by_name[name])) for name in sorted(by_name))
    return Inventory(ready, models)


def reply(value: Inventory) -> HttpReply:
    """As JSON."""
    return HttpReply(200, msgspec.json.encode(value), headers=((b"cache-control", b"no-store"),))


def _versions(statuses: Sequence[VersionStatus]) -> tuple[VersionInfo, ...]:
    return tuple(_version(s) for s in sorted(statuses, key=lambda s: -s.version))


def _version(status: VersionStatus) -> VersionInfo:
    info = VersionInfo(status.version, status.state.value, status.reason, status.aliases, status.current)
    return info if status.manifest is None else _described(info, status.manifest)


def _described(info: VersionInfo, manifest: Manifest) -> VersionInfo:
    processing = manifest.processing
    return msgspec.structs.replace(
        info,
        verdict=manifest.verdict.value,
        forced=manifest.forced,
        engine=manifest.config,
        kind="tensors" if processing.image is None else "image",
        labels=0 if processing.classification is None else len(processing.classification.labels),
        framework=manifest.provenance.framework,
        created=manifest.created,
        inputs=tuple(InputInfo(s.name, s.dtype.value, s.shape) for s in manifest.signature.inputs),
        outputs=tuple(InputInfo(s.name, s.dtype.value, s.shape) for s in manifest.signature.outputs),
    )
