"""Declarations of what happens before and after the graph. Data only; the ``processing`` unit carries them out."""

from __future__ import annotations

from enum import Enum

import msgspec


class Colour(Enum):
    """Channel order of the pixels handed to the graph."""

    RGB = "rgb"
    BGR = "bgr"
    GREY = "grey"


class Layout(Enum):
    """Axis order of an image batch."""

    NCHW = "nchw"
    NHWC = "nhwc"


class Fit(Enum):
    """How a picture of any size becomes one of the wanted size."""

    STRETCH = "stretch"
    """Resize both sides to the target; the aspect ratio is not kept."""
    SHORTEST = "shortest"
    """Resize so that the shortest side has ``resize`` pixels, then cut the target out of the centre."""
    CROP = "crop"
    """Cut the centre square that keeps ``crop_fraction`` of the shortest side, then resize it to the target."""


class Interpolation(Enum):
    """Resampling filter; all of them are antialiased when shrinking, except ``NEAREST``."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


class ImageInput(msgspec.Struct, frozen=True, omit_defaults=True):
    """From encoded picture bytes to the tensor of one graph input.

    A pixel value ``p`` (0..255) becomes ``(p * scale - mean[c]) / std[c]``. When ``fused`` is true the graph does that
    itself and takes ``uint8[batch, height, width, channels]``; otherwise it is done here and the graph takes float32
    in ``layout``.

    Attributes:
        input: name of the graph input.
        height: target height, pixels.
        width: target width, pixels.
        colour: channel order.
        fit: how the target size is reached.
        resize: for ``Fit.SHORTEST``: length of the shortest side after resizing, pixels.
        crop_fraction: for ``Fit.CROP``: part of the shortest side that is kept, 0..1.
        interpolation: resampling filter.
        scale: multiplied with every pixel value.
        mean: one value a channel, subtracted after scaling.
        std: one value a channel, divided by.
        layout: axis order that the *original* network takes.
        fused: whether scale, mean, std and layout are inside the graph.
        reduced_decode: whether a JPEG may be decoded at a reduced scale when that is still at least the target size.
    """

    input: str
    height: int
    width: int
    colour: Colour = Colour.RGB
    fit: Fit = Fit.STRETCH
    resize: int = 256
    crop_fraction: float = 0.875
    interpolation: Interpolation = Interpolation.BILINEAR
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    layout: Layout = Layout.NCHW
    fused: bool = False
    reduced_decode: bool = True

    @property
    def channels(self) -> int:
        """1 for grey, else 3."""
        return 1 if self.colour is Colour.GREY else 3


class Activation(Enum):
    """What turns a network's raw scores into the scores that are shown."""

    NONE = "none"
    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"


class Classification(msgspec.Struct, frozen=True, omit_defaults=True):
    """From one score a class to the best classes with their labels.

    Attributes:
        output: name of the graph output, ``[batch, classes]`` (trailing extents of 1 are dropped).
        activation: applied over the classes.
        top_k: how many classes an answer holds.
        labels: one a class; empty: the class number is the label.
    """

    output: str
    activation: Activation = Activation.SOFTMAX
    top_k: int = 5
    labels: tuple[str, ...] = ()


class Processing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happens around the graph for ``POST /predict/<model>``. Either side may be absent."""

    image: ImageInput | None = None
    classification: Classification | None = None
