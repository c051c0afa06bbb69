"""The end of the line: one folder with everything a version consists of, its manifest, and the repository."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import msgspec

from portside.building.convert_step import ConvertOutput
from portside.building.recipe import Recipe
from portside.building.report import render_html
from portside.building.steps import StepName
from portside.building.tune import Tuned
from portside.building.workspace import EVIDENCE, RECIPE, REPORT, Workspace, write
from portside.errors import RepositoryFailed
from portside.model.artifact import Artifact, file_entry
from portside.model.manifest import Manifest, Provenance, encode
from portside.optimize.base import Optimized

PUBLISH = "publish"
"""Folder in the workspace from which a version is published."""


def make_manifest(
    recipe: Recipe, converted: ConvertOutput, optimized: Optimized, tuned: Tuned, files: Path
) -> Manifest:
    """The record of the version whose graph lies in ``files``; it has no number and no attachments yet.

    Raises:
        RepositoryFailed: a file cannot be read.
    """
    try:
        artifact = Artifact.of(files, optimized.graph, optimized.files)
    except OSError as e:
        raise RepositoryFailed(f"a file of the new version cannot be read: {e.strerror}", detail=str(e)) from e
    return Manifest(
        name=recipe.name,
        version=0,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        signature=optimized.signature,
        artifact=artifact,
        config=tuned.config,
        provenance=_provenance(recipe, converted, optimized),
        evidence=tuned.evidence,
        processing=optimized.processing,
        goal=recipe.goal,
        measurements=tuned.measurements,
    )


def gather(manifest: Manifest, workspace: Workspace) -> Manifest:
    """Writes the report into the workspace, and puts all files of the version into its folder ``publish``.

    Returns:
        the manifest with its attachments.

    Raises:
        RepositoryFailed: a file cannot be written.
    """
    write(workspace.folder / REPORT, render_html(manifest).encode())
    write(workspace.folder / EVIDENCE, encode(manifest.evidence))
    attachments = (REPORT, EVIDENCE, RECIPE)
    folder = workspace.step(PUBLISH)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _copy(workspace.files(StepName.OPTIMIZE.value), folder, [file.path for file in manifest.artifact.files])
        _copy(workspace.folder, folder, attachments)
        found = tuple(file_entry(folder, name) for name in attachments)
    except OSError as e:
        raise RepositoryFailed(f"the new version cannot be put together: {e.strerror}", detail=str(e)) from e
    return msgspec.structs.replace(manifest, attachments=found)


def _copy(source: Path, target: Path, names: Iterable[str]) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source / name, target / name)
        except OSError:
            # not every file system has links
            shutil.copyfile(source / name, target / name)


def _provenance(recipe: Recipe, converted: ConvertOutput, optimized: Optimized) -> Provenance:
    source = recipe.source.location
    if recipe.source.checkpoint is not None:
        source += f" with {Path(recipe.source.checkpoint).name}"
    return Provenance(
        source=source,
        framework=converted.framework,
        converter=converted.converted.converter,
        source_digest=converted.converted.source_digest,
        opset=converted.converted.opset,
        ir_version=converted.converted.ir_version,
        passes=tuple(outcome.name for outcome in optimized.outcomes if outcome.modified),
        portside=metadata.version("portside"),
    )
