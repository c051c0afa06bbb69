"""From pixels to the numbers that a network was trained on."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from portside.errors import InvalidSettings
from portside.model.processing import ImageInput, Layout


def normalise(pixels: npt.NDArray[np.uint8], spec: ImageInput) -> npt.NDArray[np.float32]:
    """``(p * scale - mean[c]) / std[c]`` for every pixel value ``p``.

    Carried out in float32 as one multiplication and one addition with constants worked out in double precision.

    Args:
        pixels: uint8[n, height, width, channels].
        spec: the declaration.

    Returns:
        a new float32 array in ``spec.layout``: [n, channels, height, width] or [n, height, width, channels].

    Raises:
        InvalidSettings: mean and std do not have one value a channel, or a std is zero.
    """
    factors, offsets = _line(spec.channels, spec.scale, spec.mean, spec.std)
    n, height, width, channels = pixels.shape
    if spec.layout is Layout.NHWC:
        flat = pixels.reshape(n, height, width * channels)
        out = np.multiply(flat, np.tile(factors, width), dtype=np.float32)
        out += np.tile(offsets, width)
        return out.reshape(pixels.shape)
    planes = np.empty((n, channels, height, width), np.float32)
    for c in range(channels):
        plane = planes[:, c]
        np.multiply(pixels[..., c], factors[c], out=plane)
        plane += offsets[c]
    return planes


@lru_cache(maxsize=64)
def _line(
    channels: int, scale: float, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    if len(mean) != channels or len(std) != channels or 0.0 in std:
        raise InvalidSettings(
            f"mean {list(mean)} and std {list(std)} do not fit {channels} channel(s): "
            "give one value a channel, and no std of zero"
        )
    divisor = np.asarray(std, np.float64)
    factors = np.asarray(scale / divisor, np.float32)
    offsets = np.asarray(-np.asarray(mean, np.float64) / divisor, np.float32)
    factors.flags.writeable = offsets.flags.writeable = False
    return factors, offsets
