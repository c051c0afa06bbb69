"""What PyTorch itself says about the demo's photographs: ``python -m portside.app.demo_original``.

Run in a process of its own, so that the process that serves never holds PyTorch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import msgspec

from portside.app.demo_recipe import ASKED, make_recipe, photographs
from portside.app.plugins import converters
from portside.convert.detect import detect
from portside.model.manifest import decode_manifest
from portside.model.source import Converted
from portside.processing import image


def main(manifest_file: str, samples: str) -> None:
    """Prints the number of the first class of each photograph, as a JSON object by file name."""
    manifest = decode_manifest(Path(manifest_file).read_bytes())
    source = make_recipe(Path(samples)).source
    declared, p = manifest.processing.image, manifest.provenance
    if declared is None:
        raise TypeError("the demo's model takes pictures")
    spec = msgspec.structs.replace(declared, fused=False)
    like = Converted("", (), manifest.signature, p.framework, p.converter, p.source_digest, p.opset, p.ir_version)
    original = detect(source, converters()).reference(source, like)
    answers = {}
    for name in ASKED:
        pixels = image.decode((photographs() / name).read_bytes(), spec, exact=True)
        answers[name] = int(original.run({spec.input: image.normalise(pixels[None], spec)})["logits"][0].argmax())
    click.echo(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
