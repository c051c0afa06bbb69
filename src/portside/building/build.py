"""The offline line, as one reads it: convert -> optimize -> verify and tune -> publish."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

import msgspec

from portside.building.convert_step import CONVERT, GRAPH, ConvertInput
from portside.building.line import Line, StepRecord
from portside.building.optimize_step import OPTIMIZE, OptimizeInput
from portside.building.publish import PUBLISH, gather, make_manifest
from portside.building.recipe import Recipe, TimeLimits, check_recipe
from portside.building.steps import StepName
from portside.building.toolbox import Toolbox
from portside.building.tune import TuneOptions
from portside.building.tune_step import TUNE, TuneInput
from portside.building.workspace import (
    RECIPE,
    REPORT,
    Workspace,
    digest_module,
    digest_path,
    import_paths,
    write,
)
from portside.convert.detect import detect
from portside.convert.digest import external_weights
from portside.engine.host import available_cores, describe_host
from portside.errors import InvalidSettings, RepositoryFailed, VerificationFailed
from portside.model.evidence import Verdict
from portside.model.manifest import Manifest, encode
from portside.model.processing import Processing
from portside.model.source import Converted, Source
from portside.observe.ports import Progress
from portside.repository.base import Repository

_SAMPLES_BYTES = 512 * 1024 * 1024


class BuildResult(msgspec.Struct, frozen=True):
    """What a build made.

    Attributes:
        manifest: of the version; its number is 0 if it was not published.
        published: whether it is in the repository.
        report: the HTML page.
        workspace: folder with the steps' files.
        steps: what ran, and how long.
    """

    manifest: Manifest
    published: bool
    report: Path
    workspace: Path
    steps: tuple[StepRecord, ...]


def build(recipe: Recipe, tools: Toolbox, repository: Repository, progress: Progress, workspace: Path) -> BuildResult:
    """Runs the whole line for a recipe and publishes what comes out.

    Every step runs in a process of its own and leaves its files in the workspace; a step that an earlier build in the
    same workspace finished with the same input is not run again.

    Raises:
        VerificationFailed: the verdict is not ``pass`` and the recipe does not force; nothing is published, the report
            is in the workspace (``detail`` says where).
        PortsideError: whatever stopped a step; see :mod:`portside.errors`.
    """
    check_recipe(recipe)
    space = Workspace(workspace)
    with space.hold():
        proven = _prove(recipe, tools, progress, space)
        if proven.manifest.verdict is not Verdict.PASS and not recipe.force:
            raise _refusal(proven)
        published = _publish(proven.manifest, repository, space.step(PUBLISH), progress, force=recipe.force)
    return msgspec.structs.replace(proven, manifest=published, published=True)


def verify(recipe: Recipe, tools: Toolbox, progress: Progress, workspace: Path) -> BuildResult:
    """The same line up to the evidence; publishes nothing, and a verdict that is not ``pass`` is not an error.

    Raises:
        PortsideError: whatever stopped a step.
    """
    check_recipe(recipe)
    space = Workspace(workspace)
    with space.hold():
        return _prove(recipe, tools, progress, space)


def convert(source: Source, tools: Toolbox, progress: Progress, folder: Path) -> Converted:
    """Only the first step: the portable graph of a source, copied into ``folder``.

    Raises:
        PortsideError: whatever stopped the step; RepositoryFailed if the folder cannot be written.
    """
    detect(source, tools.converters)
    given = ConvertInput(source, Processing(), None, 1, 0, available_cores())
    with tempfile.TemporaryDirectory(prefix="portside-") as scratch:
        space = Workspace(Path(scratch))
        converted = Line(space, tools.step_command, progress).run(CONVERT, given, {}, TimeLimits().convert_s).converted
        try:
            shutil.copytree(space.files(CONVERT.name.value) / GRAPH, folder, dirs_exist_ok=True)
        except (OSError, shutil.Error) as e:
            raise RepositoryFailed("the graph cannot be written into the folder that was given", detail=str(e)) from e
    return converted


def _prove(recipe: Recipe, tools: Toolbox, progress: Progress, space: Workspace) -> BuildResult:
    """Everything up to the evidence, which is written into the workspace with its report."""
    detect(recipe.source, tools.converters)
    cores, limits = recipe.cores or available_cores(), recipe.limits
    depends = _digests(recipe)
    write(space.folder / RECIPE, encode(recipe))
    line = Line(space, tools.step_command, progress)

    source, samples = recipe.source, recipe.samples
    to_convert = ConvertInput(source, recipe.processing, samples, recipe.sample_limit, recipe.seed, cores)
    converted = line.run(CONVERT, to_convert, depends, limits.convert_s)

    to_optimize = OptimizeInput(converted.converted, converted.processing, recipe.fuse)
    optimized = line.run(OPTIMIZE, to_optimize, {}, limits.optimize_s)

    options = TuneOptions(recipe.goal, recipe.engines, recipe.precisions, cores, recipe.budget_s)
    to_tune = TuneInput(source, converted, optimized, options, recipe.seed)
    tuned = line.run(TUNE, to_tune, {"host": _digest(describe_host())}, limits.tune_s)

    made = make_manifest(recipe, converted, optimized, tuned, space.files(StepName.OPTIMIZE.value))
    manifest = gather(made, space)
    return BuildResult(manifest, False, space.folder / REPORT, space.folder, tuple(line.records))


def _publish(manifest: Manifest, repository: Repository, files: Path, progress: Progress, *, force: bool) -> Manifest:
    progress.start("publish")
    note = "failed"
    try:
        published = repository.publish(manifest, files, force=force)
        note = f"{published.name}:{published.version}{' (forced)' if published.forced else ''}"
    finally:
        progress.finish(note)
    return published


def _refusal(proven: BuildResult) -> VerificationFailed:
    evidence = proven.manifest.evidence
    reasons = "; ".join(evidence.reasons) or "no reason was given"
    return VerificationFailed(
        f"the verdict on {proven.manifest.name!r} is {evidence.verdict.value}, so it was not published: {reasons}. "
        "Read the report; publish anyway with force",
        detail=f"report: {proven.report}",
    )


def _digests(recipe: Recipe) -> dict[str, str]:
    """Digests of the files that a recipe names. Raises InvalidSettings if one is missing."""
    source = recipe.source
    if source.is_import_path:
        found = {"source": digest_module(source.location.partition(":")[0], import_paths())}
    else:
        found = {"source": digest_path(Path(source.location), "the source")}
        for each in _external_weights(Path(source.location)):
            found[f"source's {each}"] = digest_path(each, "the weights beside the source")
    if source.checkpoint is not None:
        found["checkpoint"] = digest_path(Path(source.checkpoint), "the checkpoint")
    if recipe.samples is not None:
        found["samples"] = digest_path(Path(recipe.samples), "the samples", _SAMPLES_BYTES)
    return found


def _external_weights(path: Path) -> tuple[Path, ...]:
    try:
        return external_weights(path) if path.is_file() else ()
    except OSError as e:
        raise InvalidSettings(f"{str(path)!r}, given as the source, cannot be read: {e.strerror}", detail=str(e)) from e


def _digest(value: msgspec.Struct) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()
