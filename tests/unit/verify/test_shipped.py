from __future__ import annotations

from io import BytesIO
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from portside.model.evidence import Verdict
from portside.model.processing import Classification, ImageInput, Processing
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec
from portside.verify.shipped import shipped_processing
from portside.verify.subject import Stage

IMAGE = ImageInput("x", 16, 16, fused=True)


class Sharpness:
    """Scores that tell a finely striped picture from a smooth one: reduced decoding removes the stripes."""

    input_names = ("x",)
    output_names = ("y",)

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def run(self, inputs: Any) -> dict[str, Any]:
        x = inputs["x"].astype(np.float32)
        edges = np.abs(np.diff(x, axis=2)).mean(axis=(1, 2, 3))
        level = x.mean(axis=(1, 2, 3))
        return {"y": np.stack([level, level + 1 + self.weight * edges, level - 9], axis=1)}


def stage(tmp_path: Any, *, classes: bool = True, image: ImageInput | None = IMAGE) -> Stage:
    signature = Signature(
        (TensorSpec("x", DType.UINT8, ("batch", 16, 16, 3)),), (TensorSpec("y", DType.FLOAT32, ("batch", 3)),), "batch"
    )
    return Stage(tmp_path, signature, Processing(image, Classification("y") if classes else None))


def jpeg(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(
        (256, 256), Image.Resampling.BICUBIC
    )
    out = BytesIO()
    coarse.save(out, "JPEG", quality=90)
    return out.getvalue()


def test_answers_that_stay_pass(tmp_path: Any) -> None:
    for classes in (True, False):
        finding = shipped_processing(Sharpness(0), stage(tmp_path, classes=classes), [jpeg(i) for i in range(4)])
        assert finding.verdict is Verdict.PASS, finding.sentence
        assert "decoded as shipped and exactly" in finding.sentence


def test_answers_that_change_fail(tmp_path: Any) -> None:
    """A network that looks at nothing but the last digit of the mean is moved by any other decoder."""

    class Fickle(Sharpness):
        def run(self, inputs: Any) -> dict[str, Any]:
            digits = (inputs["x"].astype(np.int64).sum(axis=(1, 2, 3)) * 7919) % 3
            return {"y": np.eye(3, dtype=np.float32)[digits] * 10}

    pictures = [jpeg(i) for i in range(6)]
    for classes in (True, False):
        finding = shipped_processing(Fickle(0), stage(tmp_path, classes=classes), pictures)
        assert finding.verdict is Verdict.FAIL
        assert "reduced_decode off" in finding.sentence
    exact = msgspec.structs.replace(IMAGE, reduced_decode=False)
    assert shipped_processing(Fickle(0), stage(tmp_path, image=exact), pictures).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("image", "raw", "said"),
    [
        (None, (b"x",), "none is declared"),
        (IMAGE, (), "not checked: there are no picture files"),
        (IMAGE, (b"not a picture",), "not checked: there are no picture files"),
    ],
)
def test_what_cannot_be_checked_is_said(
    image: ImageInput | None, raw: tuple[bytes, ...], said: str, tmp_path: Any
) -> None:
    finding = shipped_processing(Sharpness(0), stage(tmp_path, image=image), raw)
    assert finding.verdict is Verdict.PASS
    assert said in finding.sentence
