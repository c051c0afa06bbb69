"""``portside build``, ``convert``, ``verify`` and ``up``: from a trained model to a published version."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from portside.app.cli_models import parity_table, tuner_table
from portside.app.console import megabytes, print_json, print_table, progress, stderr_console
from portside.app.line import convert_source, run_build, verify_source
from portside.app.options import (
    json_option,
    listen_options,
    make_processing,
    make_source,
    processing_options,
    repository_option,
    source_options,
)
from portside.app.settings import workspace_of
from portside.app.wiring import Wanted, run_server
from portside.building.build import BuildResult
from portside.building.recipe import Recipe
from portside.model.config import EngineName, Goal, Precision
from portside.model.evidence import Verdict
from portside.observe.logs import configure

F = TypeVar("F", bound=Callable[..., Any])

_TUNING = (
    click.option("--samples", metavar="PATH", help="Real data: a folder of pictures, an .npz by input name, a .npy."),
    click.option("--sample-limit", type=click.IntRange(1), default=64, show_default=True, help="Most rows of it used."),
    click.option("--goal", type=click.Choice([g.value for g in Goal]), default="latency", show_default=True,
                 help="What the tuner optimises for."),
    click.option("--engine", "engines", type=click.Choice([e.value for e in EngineName]), multiple=True,
                 help="Let the tuner choose only from these engines."),
    click.option("--precision", "precisions", type=click.Choice([p.value for p in Precision]), multiple=True,
                 help="Let it choose only from these arithmetics."),
    click.option("--cores", type=click.IntRange(1), help="Threads the service may use (default: all of this process)."),
    click.option("--no-fuse", is_flag=True, help="Keep normalisation out of the graph: tensor clients send floats."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of the random checks."),
    click.option("--workspace", type=click.Path(path_type=Path, file_okay=False), help="Folder for the steps' files."),
)  # fmt: skip


def tuning_options(command: F) -> F:
    """What the check and the tuner work with."""
    for option in reversed(_TUNING):
        command = option(command)
    return command


@click.command()
@source_options
@click.option("--name", required=True, help="The model is published under this name.")
@processing_options
@tuning_options
@click.option("--force", is_flag=True, help="Publish even if verification does not pass; the version says so for ever.")
@repository_option
@json_option
def build(source: str, name: str, repository: Path, *, force: bool, as_json: bool, **given: Any) -> None:
    """Convert SOURCE, prove that it still answers the same, tune it, and publish it as a new version.

    \b
    SOURCE is one of
      model.onnx  model.keras  model.h5  saved_model/      ONNX, Keras, TensorFlow
      model.pt  model.pt2                                   TorchScript, torch.export
      package.module:callable  with --checkpoint FILE       a PyTorch module and its state dict

    \b
    Examples:
      portside build model.onnx --name prices --samples rows.npz
      portside build net.py_module:Net --checkpoint net.pth --input 'x=float32[batch,3,224,224]' \\
          --image 224x224 --preset imagenet --labels names.txt --samples photos/ --name cats
    """
    recipe = make_recipe(source, name, given, force=force)
    with progress(json=as_json) as shown:
        result = run_build(recipe, repository, shown, given["workspace"])
    report(result, as_json=as_json)
    click.echo(f"Serve it:  portside serve --repository {repository}", err=True)


@click.command()
@source_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write."
)
@json_option
def convert(source: str, output: Path, *, as_json: bool, **given: Any) -> None:
    """Only convert SOURCE to ONNX, into a folder; nothing is verified or published."""
    with progress(json=as_json) as shown:
        converted = convert_source(make_source(source, given), output, shown)
    if as_json:
        print_json(converted)
        return
    click.echo(f"{output / converted.graph}: from {converted.framework}, opset {converted.opset}")
    for spec in (*converted.signature.inputs, *converted.signature.outputs):
        click.echo(f"  {spec}")


@click.command()
@source_options
@processing_options
@tuning_options
@json_option
def verify(source: str, *, as_json: bool, **given: Any) -> int:
    """Convert and tune SOURCE and compare with the original framework, but publish nothing.

    Ends with exit code 0 only if the verdict is pass.
    """
    recipe = make_recipe(source, name_of(source), given, force=True)
    with progress(json=as_json) as shown:
        result = verify_source(recipe, given["workspace"] or workspace_of(Path(), recipe.name), shown)
    report(result, as_json=as_json)
    return 0 if result.manifest.verdict is Verdict.PASS else 4


@click.command()
@source_options
@click.option("--name", help="Published under this name (default: from SOURCE).")
@processing_options
@tuning_options
@click.option("--force", is_flag=True, help="Publish and serve even if verification does not pass.")
@repository_option
@listen_options
def up(source: str, name: str | None, repository: Path, host: str, port: int, *, force: bool, **given: Any) -> None:
    """Build SOURCE and serve it: the whole way in one command. Takes all options of `build` and of `serve`."""
    recipe = make_recipe(source, name or name_of(source), given, force=force)
    with progress(json=False) as shown:
        result = run_build(recipe, repository, shown, given["workspace"])
    report(result, as_json=False)
    configure()
    run_server(Wanted(repository, host, port, only=(recipe.name,)))


def make_recipe(source: str, name: str, given: dict[str, Any], *, force: bool) -> Recipe:
    """A Recipe from the options of this module. Raises InvalidSettings."""
    return Recipe(
        name=name,
        source=make_source(source, given),
        processing=make_processing(given),
        samples=given["samples"],
        sample_limit=given["sample_limit"],
        fuse=not given["no_fuse"],
        goal=Goal(given["goal"]),
        engines=tuple(map(EngineName, given["engines"])) or tuple(EngineName),
        precisions=tuple(map(Precision, given["precisions"])) or tuple(Precision),
        cores=given["cores"],
        seed=given["seed"],
        force=force,
    )


def name_of(source: str) -> str:
    """A model name from a source's: ``nets/cats.onnx`` -> ``cats``, ``pkg.net:Cats`` -> ``Cats``."""
    last = source.rstrip("/").rsplit("/", 1)[-1]
    stem = last.rsplit(":", 1)[-1].rsplit(".", 1)[-1] if ":" in last else last.split(".", 1)[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")[:128] or "model"


def report(result: BuildResult, *, as_json: bool) -> None:
    """What a build made, as tables or as the manifest's JSON."""
    if as_json:
        print_json(result.manifest)
        return
    manifest = result.manifest
    print_table(parity_table(manifest.evidence))
    for reason in manifest.evidence.reasons:
        stderr_console().print(f"[yellow]{manifest.verdict.value}[/yellow]: {reason}")
    click.echo()
    print_table(tuner_table(manifest.measurements))
    click.echo()
    click.echo(
        f"{manifest.name}:{manifest.version or '-'}  verdict {manifest.verdict.value}"
        f"{' (FORCED)' if manifest.forced else ''}, {manifest.config}, {megabytes(manifest.artifact.size_bytes)}"
    )
    click.echo(f"report: {result.report}")
