"""Which part of a picture is resized to what size: arithmetic only."""

from __future__ import annotations

import msgspec

from portside.model.processing import Fit, ImageInput

REDUCTIONS = (8, 4, 2)
"""The factors by which a JPEG can be decoded smaller."""


class Box(msgspec.Struct, frozen=True):
    """A rectangle in a picture, pixels; fractions are allowed.

    Attributes:
        left: distance of the left edge from the picture's left edge.
        top: distance of the top edge from the picture's top edge.
        right: distance of the right edge from the picture's left edge.
        bottom: distance of the bottom edge from the picture's top edge.
    """

    left: float
    top: float
    right: float
    bottom: float

    def divided(self, factor: int) -> tuple[float, float, float, float]:
        """The same rectangle in the picture decoded ``factor`` times smaller."""
        return self.left / factor, self.top / factor, self.right / factor, self.bottom / factor


def region(width: int, height: int, spec: ImageInput) -> Box:
    """The part of an upright picture of ``width`` x ``height`` pixels that becomes the target.

    * ``STRETCH``: all of it.
    * ``SHORTEST``: what is left of it when its shortest side has been resized to ``spec.resize`` pixels (the other side
      rounded down) and ``spec.width`` x ``spec.height`` pixels have been cut out of the centre. Where that would not
      cover the target, ``spec.resize`` is taken as large as is needed to cover it.
    * ``CROP``: the centre square whose side is ``spec.crop_fraction`` of the shortest side, rounded down, at least 1.
    """
    match spec.fit:
        case Fit.STRETCH:
            return Box(0.0, 0.0, width, height)
        case Fit.SHORTEST:
            return _centre_after_resize(width, height, spec)
        case Fit.CROP:
            side = max(1, min(int(min(width, height) * spec.crop_fraction), width, height))
            left, top = (width - side + 1) // 2, (height - side + 1) // 2
            return Box(left, top, left + side, top + side)


def _centre_after_resize(width: int, height: int, spec: ImageInput) -> Box:
    shortest = min(width, height)
    resize = max(spec.resize, -(-spec.width * shortest // width), -(-spec.height * shortest // height))
    across, down = resize * width // shortest, resize * height // shortest
    left, top = round((across - spec.width) / 2), round((down - spec.height) / 2)
    x, y = width / across, height / down
    return Box(left * x, top * y, min((left + spec.width) * x, width), min((top + spec.height) * y, height))


def unturned(box: Box, orientation: int, width: int, height: int) -> Box:
    """A rectangle of the upright picture as a rectangle of the stored one.

    Args:
        box: in the picture as it is shown.
        orientation: how the stored one has to be turned to be shown, 1 to 8, as in EXIF.
        width: of the stored picture, pixels.
        height: of the stored picture, pixels.
    """
    left, top, right, bottom = box.left, box.top, box.right, box.bottom
    if orientation >= 5:
        left, top, right, bottom = top, left, bottom, right
    if orientation in {2, 3, 7, 8}:
        left, right = width - right, width - left
    if orientation in {3, 4, 6, 7}:
        top, bottom = height - bottom, height - top
    return Box(left, top, right, bottom)


def reduction(box: Box, width: int, height: int) -> int:
    """By how much a JPEG may be decoded smaller (1, 2, 4 or 8) with ``box`` still at least ``width`` x ``height``."""
    across, down = (box.right - box.left) / width, (box.bottom - box.top) / height
    return next((factor for factor in REDUCTIONS if min(across, down) >= factor), 1)
