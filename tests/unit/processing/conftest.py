from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import skimage
from PIL import Image

Encode = Callable[..., bytes]


def _encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture(scope="session")
def encode() -> Encode:
    """A picture as the bytes of a file: ``encode(picture, "JPEG", quality=90)``."""
    return _encode


@pytest.fixture(scope="session")
def photographs() -> dict[str, Image.Image]:
    """Real photographs of several sizes, RGB, by name."""
    folder = Path(skimage.__file__).parent / "data"
    names = ["chelsea.png", "coffee.png", "astronaut.png", "rocket.jpg", "motorcycle_left.png", "hubble_deep_field.jpg"]
    return {name.split(".")[0]: Image.open(folder / name).convert("RGB") for name in names}


@pytest.fixture(scope="session")
def coffee(photographs: dict[str, Image.Image]) -> Image.Image:
    """600 x 400 pixels."""
    return photographs["coffee"]
