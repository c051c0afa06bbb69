"""Fits the declared processing to the signature that the conversion found."""

from __future__ import annotations

import math

import msgspec

from portside.errors import InvalidSettings
from portside.model.processing import Classification, ImageInput, Layout, Processing
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec


def fit(processing: Processing, signature: Signature) -> Processing:
    """The processing with its input and output names filled in, checked against the signature.

    Raises:
        InvalidSettings: it names something that the model does not have, or sizes do not agree.
    """
    image, classification = processing.image, processing.classification
    if image is not None:
        image = _fit_image(image, signature)
    if classification is not None:
        classification = _fit_classes(classification, signature)
    return Processing(image, classification)


def _fit_image(image: ImageInput, signature: Signature) -> ImageInput:
    spec = _pick(signature.inputs, image.input, "input", "pictures")
    if len(signature.inputs) != 1:
        raise InvalidSettings(
            f"pictures are declared for the input '{spec.name}', but the model has {len(signature.inputs)} inputs: "
            "only a model with one input can be given pictures"
        )
    channels, height, width = image.channels, image.height, image.width
    wanted = (channels, height, width) if image.layout is Layout.NCHW else (height, width, channels)
    agrees = len(spec.shape) == 4 and all(
        isinstance(have, str) or have == want for have, want in zip(spec.shape[1:], wanted, strict=True)
    )
    if not agrees or spec.dtype is not DType.FLOAT32:
        raise InvalidSettings(
            f"the declared pictures become float32[batch, {', '.join(map(str, wanted))}] ({image.layout.value}), "
            f"but the model takes {spec}: correct the size, the colours or the layout (--image, --colour, --layout)"
        )
    _check_numbers(image)
    return msgspec.structs.replace(image, input=spec.name, fused=False)


def _check_numbers(image: ImageInput) -> None:
    for name, values in (("mean", image.mean), ("std", image.std)):
        if len(values) != image.channels:
            raise InvalidSettings(f"{name} has {len(values)} values, but the pictures have {image.channels} channels")
    for name, values in (("scale", (image.scale,)), ("mean", image.mean), ("std", image.std)):
        if not all(map(math.isfinite, values)):
            raise InvalidSettings(f"{name} is {values}: expected finite numbers")
    if image.scale == 0 or 0 in image.std:
        raise InvalidSettings("scale or std holds a zero: every picture would look the same, or be divided by nothing")
    if not 0 < image.crop_fraction <= 1:
        raise InvalidSettings(f"crop_fraction is {image.crop_fraction}, expected above 0 and at most 1")
    if min(image.height, image.width, image.resize) < 1:
        raise InvalidSettings(f"a side of {min(image.height, image.width, image.resize)} pixels: expected at least 1")


def _fit_classes(classes: Classification, signature: Signature) -> Classification:
    spec = _pick(signature.outputs, classes.output, "output", "class scores")
    extents = [d for d in spec.shape[1:] if d != 1]
    if len(spec.shape) < 2 or len(extents) > 1:
        raise InvalidSettings(f"class scores are declared for {spec}, expected one score a class: [batch, classes]")
    count = extents[0] if extents else 1
    if classes.labels and isinstance(count, int) and len(classes.labels) != count:
        raise InvalidSettings(f"there are {len(classes.labels)} labels, but the output {spec} has {count} classes")
    if classes.top_k < 1:
        raise InvalidSettings(f"top_k is {classes.top_k}, expected at least 1")
    return msgspec.structs.replace(classes, output=spec.name)


def _pick(specs: tuple[TensorSpec, ...], name: str, kind: str, what: str) -> TensorSpec:
    names = ", ".join(f"'{spec.name}'" for spec in specs)
    if not name and len(specs) == 1:
        return specs[0]
    for spec in specs:
        if spec.name == name:
            return spec
    given = f"the {kind} {name!r}" if name else f"an {kind} without a name"
    raise InvalidSettings(f"{what} are declared for {given}, but the model's {kind}s are {names}: name one of them")
