"""The demo: EfficientNet-Lite0 with its ImageNet weights, and photographs, all from Python packages."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from portside.app.cli_build import report
from portside.app.console import print_table, progress, table
from portside.app.demo_recipe import ASKED, NAME, gather_samples, make_recipe, photographs
from portside.app.line import run_build
from portside.app.wiring import Wanted, start_server
from portside.errors import ConversionFailed, InvalidSettings
from portside.model.manifest import Manifest
from portside.repository.local import LocalRepository
from portside.server.background import ServerHandle

_ORIGINAL_S = 120.0


def run(repository: Path, host: str, port: int, *, once: bool) -> int:
    """Builds, serves and asks. Returns the exit code. Raises MissingExtra and whatever a build raises."""
    console = Console(highlight=False)
    samples = repository / ".builds" / f"{NAME}-samples"
    recipe = make_recipe(samples)
    gather_samples(samples)
    weights = Path(recipe.source.checkpoint or "").name
    console.print(f"[bold]Source[/bold]  {recipe.source.location} with {weights}", soft_wrap=True)
    with progress(json=False) as shown:
        result = run_build(recipe, repository, shown)
    console.print()
    report(result, as_json=False)
    published = LocalRepository(repository).folder(NAME, result.manifest.version)
    said = original_answers(published / "manifest.json", samples)
    with _serve(repository, host, port) as server:
        console.print(f"\n[bold]Serving[/bold]  {server.url}  (version {result.manifest.version} of {NAME})\n")
        agree = ask_all(server.url, said, result.manifest)
        if once:
            return 0 if agree else 1
        console.print(f"Drop a picture on the page at [bold]{server.url}[/bold]. Ctrl-C ends.")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


def _serve(repository: Path, host: str, port: int) -> ServerHandle:
    """Serves; on any free port if something else already listens on the wanted one."""
    try:
        return start_server(Wanted(repository, host, port, only=(NAME,)))
    except InvalidSettings as e:
        click.echo(f"{e.message}; taking another port", err=True)
        return start_server(Wanted(repository, host, 0, only=(NAME,)))


def original_answers(manifest_file: Path, samples: Path) -> dict[str, int]:
    """The class that PyTorch itself puts first, by photograph. Raises ConversionFailed."""
    command = [sys.executable, "-m", "portside.app.demo_original", str(manifest_file), str(samples)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_ORIGINAL_S)
        answers: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as e:
        detail = getattr(e, "stderr", None) or str(e)
        raise ConversionFailed("PyTorch itself could not be asked about the photographs", detail=detail) from e
    return answers


def ask_all(url: str, said: dict[str, int], manifest: Manifest) -> bool:
    """Asks the server about every photograph and prints its answers; whether all agree with the original."""
    rows, agree = [], True
    for name in ASKED:
        classes, took_ms = ask(f"{url}/predict/{NAME}", (photographs() / name).read_bytes())
        same = classes[0]["index"] == said[name]
        agree &= same
        first, *rest = (f"{escape(c['label'])} {c['score']:.0%}" for c in classes)
        mark = "[green]same[/green]" if same else f"[red]class {said[name]}[/red]"
        rows.append((name, f"[bold]{first}[/bold]", ", ".join(rest), mark, f"{took_ms:.1f}"))
    framework = manifest.provenance.framework
    print_table(table("", ("photograph", "top-1", "then", framework, "ms"), rows, right=frozenset({4})))
    click.echo()
    return agree


def ask(url: str, picture: bytes) -> tuple[list[dict[str, Any]], float]:
    """One picture over HTTP: the best classes, and the time from request to answer in milliseconds."""
    request = urllib.request.Request(url, picture, {"content-type": "application/octet-stream"})  # noqa: S310 -- http
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 -- our own server
        body = answer.read()
    took_ms = (time.perf_counter() - began) * 1000
    return json.loads(body)["predictions"][0]["classes"], took_ms
