"""From the bytes of a picture file to the tensor that a network takes."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from portside.errors import InvalidImage, InvalidRequest, PayloadTooLarge, PortsideError
from portside.model.processing import Colour, ImageInput, Interpolation
from portside.processing.exif import UPRIGHT, orientation
from portside.processing.geometry import Box, reduction, region, unturned
from portside.processing.header import Kind, gif_size, kind_of, webp_size, without_animation
from portside.processing.normalise import normalise

__all__ = ["MAX_PIXELS", "decode", "normalise", "tensor"]

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 64_000_000
"""Pictures with more pixels are refused from their header, unless the caller says otherwise."""
_MAX_SIDE = 65_535
_MAX_SCANS = 100
"""A small progressive JPEG may ask for thousands of passes over all its pixels; encoders write about ten."""
_WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})


class _Jpeg(JpegImagePlugin.JpegImageFile):
    def _read_dpi_from_exif(self) -> None:
        """Not wanted: it reads all metadata, and warns about what it finds."""


def decode(data: bytes, spec: ImageInput, *, max_pixels: int = MAX_PIXELS, exact: bool = False) -> Pixels:
    """Decodes one picture, turns it upright and brings it to the declared size and colours.

    Transparent parts show white. Of an animation the first frame is taken. Sixteen-bit channels keep their upper eight
    bits. Embedded colour profiles are not applied (nor do the usual training pipelines). When shrinking, pixels just
    outside the part that is kept take part in the filter at its edge, as if the whole picture had been resized first.

    Safe to call from many threads; the interpreter lock is released during most of the work.

    Args:
        data: a JPEG, PNG, WebP, GIF or BMP file.
        spec: the declaration.
        max_pixels: larger pictures (width times height, from the header) are refused before they are decoded.
        exact: decode at full scale, even where ``spec.reduced_decode`` allows a smaller one.

    Returns:
        uint8[height, width, channels]; may be read-only.

    Raises:
        InvalidImage: not a picture of these formats, damaged, or cut off.
        PayloadTooLarge: too many pixels.
    """
    try:
        with _open(data, max_pixels) as picture:
            _check_size(picture.size, max_pixels)
            return _to_pixels(picture, spec, reduce=spec.reduced_decode and not exact)
    except PortsideError:
        raise
    except Exception as e:
        # Whatever a decoder raises on foreign bytes is an answer about these bytes.
        raise InvalidImage(
            f"the {kind_of(data).value} picture of {len(data)} bytes cannot be decoded: it is damaged or cut off; "
            "send an intact file",
            detail=f"{type(e).__name__}: {e}",
        ) from e


def tensor(
    items: Sequence[bytes], spec: ImageInput, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """The graph's input for some pictures.

    Args:
        items: one picture file each, at least one.
        spec: the declaration.
        max_pixels: as in :func:`decode`.

    Returns:
        a new array of one row a picture: uint8[n, height, width, channels] when ``spec.fused``, else float32 in
        ``spec.layout``.

    Raises:
        InvalidImage, PayloadTooLarge: as :func:`decode`; the message says which picture it was, counted from 0.
        InvalidRequest: no picture.
    """
    if not items:
        raise InvalidRequest("the request holds no picture: send at least one")
    batch = np.empty((len(items), spec.height, spec.width, spec.channels), np.uint8)
    for i, item in enumerate(items):
        try:
            batch[i] = decode(item, spec, max_pixels=max_pixels)
        except (InvalidImage, PayloadTooLarge) as e:
            if len(items) == 1:
                raise
            raise type(e)(f"picture {i} of {len(items)}: {e.message}", detail=e.detail) from e
    return batch if spec.fused else normalise(batch, spec)


def _open(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    """Reads the header only. The readers are called directly: ``Image.open`` warns about large pictures."""
    match kind_of(data):
        case Kind.JPEG:
            return _checked_scans(_Jpeg(BytesIO(data), ""), data)
        case Kind.PNG:
            return PngImagePlugin.PngImageFile(BytesIO(without_animation(data)), "")
        case Kind.WEBP:
            _check_size(webp_size(data), max_pixels)
            return WebPImagePlugin.WebPImageFile(BytesIO(data), "")
        case Kind.GIF:
            _check_size(gif_size(data), min(max_pixels, MAX_PIXELS))
            return GifImagePlugin.GifImageFile(BytesIO(data), "")
        case Kind.BMP:
            return BmpImagePlugin.BmpImageFile(BytesIO(data), "")


def _checked_scans(picture: ImageFile.ImageFile, data: bytes) -> ImageFile.ImageFile:
    if "progressive" in picture.info and data.count(b"\xff\xda") > _MAX_SCANS:
        raise InvalidImage(f"the JPEG picture has more than {_MAX_SCANS} scans: save it again as a plain JPEG")
    return picture


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise InvalidImage(f"the picture says it has {width} x {height} pixels: it is damaged, send an intact file")
    if width * height > max_pixels or max(width, height) > _MAX_SIDE:
        raise PayloadTooLarge(
            f"the picture has {width} x {height} = {width * height} pixels; at most {max_pixels}, and at most "
            f"{_MAX_SIDE} a side, are taken: send a smaller one"
        )


def _to_pixels(picture: ImageFile.ImageFile, spec: ImageInput, *, reduce: bool) -> Pixels:
    turn = orientation(picture.info.get("exif", b""))
    width, height = picture.size
    shown = (height, width) if turn >= 5 else (width, height)
    box = unturned(region(*shown, spec), turn, width, height)
    target = (spec.height, spec.width) if turn >= 5 else (spec.width, spec.height)
    factor = _draft(picture, spec, box, target) if reduce else 1
    picture.load()
    if turn == UPRIGHT and "exif" in picture.info:
        # A PNG may hold its metadata behind its pixels.
        turn = orientation(picture.info["exif"])
        if turn != UPRIGHT:
            return _to_pixels(picture, spec, reduce=False)
    resized = _simple(picture).resize(target, _FILTERS[spec.interpolation], box.divided(factor))
    if turn != UPRIGHT:
        resized = resized.transpose(_TURNS[turn])
    return _array(resized, spec.colour)


def _draft(picture: ImageFile.ImageFile, spec: ImageInput, box: Box, target: tuple[int, int]) -> int:
    """Asks a JPEG's decoder for a smaller or a grey picture; returns how many times smaller."""
    if not isinstance(picture, _Jpeg):
        return 1
    factor = 1 if spec.interpolation is Interpolation.NEAREST else reduction(box, *target)
    mode = "L" if spec.colour is Colour.GREY else None
    if factor > 1 or mode:
        width, height = picture.size
        picture.draft(mode, (width // factor, height // factor))
    return factor


def _simple(picture: Image.Image) -> Image.Image:
    """A mode whose values can be averaged: grey, RGB, or RGB with premultiplied alpha."""
    mode = picture.mode
    if mode in {"L", "RGB"} and "transparency" not in picture.info:
        return picture
    if mode.startswith("I"):
        return Image.fromarray((np.asarray(picture).astype(np.int32) >> 8).clip(0, 255).astype(np.uint8))
    if mode in _WITH_ALPHA or "transparency" in picture.info:
        return picture.convert("RGBA").convert("RGBa")
    return picture.convert("L" if mode == "1" else "RGB")


def _array(picture: Image.Image, colour: Colour) -> Pixels:
    if picture.mode == "RGBa":
        premultiplied = np.asarray(picture)
        white = 255 - premultiplied[..., 3:]
        picture = Image.fromarray(premultiplied[..., :3] + np.minimum(white, 255 - premultiplied[..., :3]))
    wanted = "L" if colour is Colour.GREY else "RGB"
    if picture.mode != wanted:
        picture = picture.convert(wanted)
    packed = picture.tobytes("raw", "BGR" if colour is Colour.BGR else wanted)
    return np.frombuffer(packed, np.uint8).reshape(picture.height, picture.width, -1)


_FILTERS = {
    Interpolation.NEAREST: Image.Resampling.NEAREST,
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
    Interpolation.LANCZOS: Image.Resampling.LANCZOS,
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
