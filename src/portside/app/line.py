"""Runs the offline line for the command line and the Python API."""

from __future__ import annotations

from pathlib import Path

from portside.app.plugins import toolbox
from portside.app.settings import workspace_of
from portside.building.build import BuildResult, build, convert, verify
from portside.building.recipe import Recipe
from portside.model.source import Converted, Source
from portside.observe.ports import Progress
from portside.repository.local import LocalRepository


def run_build(recipe: Recipe, repository: Path, progress: Progress, workspace: Path | None = None) -> BuildResult:
    """Builds and publishes. Raises whatever the steps raise, VerificationFailed among them."""
    folder = workspace or workspace_of(repository, recipe.name)
    return build(recipe, toolbox(), LocalRepository(repository), progress, folder)


def verify_source(recipe: Recipe, workspace: Path, progress: Progress) -> BuildResult:
    """Everything but publishing; the verdict is in the result's manifest."""
    return verify(recipe, toolbox(), progress, workspace)


def convert_source(source: Source, folder: Path, progress: Progress) -> Converted:
    """Only the conversion, into ``folder``."""
    return convert(source, toolbox(), progress, folder)
