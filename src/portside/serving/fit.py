"""Fits the configuration that the tuner chose to the machine that serves."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from portside.engine.base import Engine, Session
from portside.engine.host import available_cores
from portside.errors import EngineFailed, PortsideError, Unsupported
from portside.model.config import EngineConfig, EngineName, Precision
from portside.model.manifest import Manifest

log = logging.getLogger(__name__)


def fit(config: EngineConfig, cores: int) -> EngineConfig:
    """Scales threads and instances down to the cores there are; never up, because only what was measured is known."""
    instances = max(1, min(config.instances, cores))
    threads = max(1, min(config.threads, cores // instances))
    return msgspec.structs.replace(config, threads=threads, instances=instances)


def safe_config(cores: int, instances: int = 1) -> EngineConfig:
    """What runs everywhere: ONNX Runtime in float32 on all cores."""
    return fit(EngineConfig(EngineName.ONNXRUNTIME, Precision.FP32, max(1, cores // instances), instances), cores)


def load_sessions(
    manifest: Manifest,
    folder: Path,
    engines: Mapping[EngineName, Engine],
    *,
    instances: int | None = None,
    cores: int | None = None,
) -> Sequence[Session]:
    """Loads a version the way the tuner chose, or, where this machine cannot, with :func:`safe_config`. Blocks.

    Args:
        manifest: the version.
        folder: where its files lie.
        engines: the engines at hand.
        instances: how many sessions; ``None`` for what the tuner chose.
        cores: cores to use; ``None`` for those this process may use.

    Raises:
        Unsupported, EngineFailed: no engine here loads it; says what the first choice was and why it did not work.
    """
    cores = available_cores() if cores is None else cores
    wanted = manifest.config if instances is None else msgspec.structs.replace(manifest.config, instances=instances)
    chosen = fit(wanted, cores)
    if chosen != manifest.config and instances is None:
        log.warning("%s:%d runs as %s instead of %s: %d core(s) here", *_who(manifest), chosen, manifest.config, cores)
    try:
        return _load(manifest, folder, engines, chosen)
    except (Unsupported, EngineFailed) as e:
        fallback = safe_config(cores, instances or 1)
        if (fallback.engine, fallback.precision) == (chosen.engine, chosen.precision):
            raise
        log.warning("%s:%d cannot run as %s (%s); trying %s", *_who(manifest), chosen, e.message, fallback)
        try:
            return _load(manifest, folder, engines, fallback)
        except PortsideError as second:
            raise EngineFailed(f"{e.message}; and with {fallback}: {second.message}", detail=second.detail) from e


def _who(manifest: Manifest) -> tuple[str, int]:
    return manifest.name, manifest.version


def _load(
    manifest: Manifest, folder: Path, engines: Mapping[EngineName, Engine], config: EngineConfig
) -> Sequence[Session]:
    engine = engines.get(config.engine)
    if engine is None:
        known = ", ".join(sorted(e.value for e in engines)) or "none"
        raise Unsupported(f"the engine {config.engine.value} is not installed here; installed are: {known}")
    if config.precision not in engine.precisions():
        raise Unsupported(f"{config.engine.value} does not compute in {config.precision.value} on this processor")
    if manifest.artifact.format not in engine.formats:
        raise Unsupported(f"{config.engine.value} does not load {manifest.artifact.format.value} files")
    sessions = engine.load(folder / manifest.artifact.entry, config)
    _check_names(manifest, sessions)
    return sessions


def _check_names(manifest: Manifest, sessions: Sequence[Session]) -> None:
    signature = manifest.signature
    for kind, declared, found in (
        ("inputs", {s.name for s in signature.inputs}, set(sessions[0].input_names)),
        ("outputs", {s.name for s in signature.outputs}, set(sessions[0].output_names)),
    ):
        if not declared <= found or (kind == "inputs" and declared != found):
            raise EngineFailed(f"the graph's {kind} are {sorted(found)}, its manifest says {sorted(declared)}")
