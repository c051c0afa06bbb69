"""Pictures that are as they should be."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

from portside.errors import InvalidImage, InvalidRequest, PayloadTooLarge
from portside.model.processing import Colour, Fit, ImageInput, Interpolation, Layout
from portside.processing.image import decode, normalise, tensor

Encode = Callable[..., bytes]
SPEC = ImageInput("x", 96, 64, interpolation=Interpolation.BICUBIC)
FILTER = Image.Resampling.BICUBIC


def spec(**changes: Any) -> ImageInput:
    return msgspec.structs.replace(SPEC, **changes)


def same_size(picture: Image.Image, **changes: Any) -> ImageInput:
    """A declaration that changes no pixel."""
    return spec(width=picture.width, height=picture.height, **changes)


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    assert a.shape == b.shape
    return np.abs(a.astype(int) - b.astype(int))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_a_lossless_picture_of_the_right_size_is_unchanged(coffee: Image.Image, encode: Encode, kind: str) -> None:
    data = encode(coffee, kind, **({"lossless": True} if kind == "WEBP" else {}))
    pixels = decode(data, same_size(coffee))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.asarray(coffee))


@pytest.mark.parametrize("interpolation", Interpolation)
def test_stretch_is_a_resize_of_everything(coffee: Image.Image, encode: Encode, interpolation: Interpolation) -> None:
    expected = coffee.resize((64, 96), Image.Resampling[interpolation.name])
    pixels = decode(encode(coffee, "PNG"), spec(interpolation=interpolation))
    np.testing.assert_array_equal(pixels, np.asarray(expected))


def test_shortest_is_a_resize_and_a_cut(coffee: Image.Image, encode: Encode) -> None:
    whole = coffee.resize((192, 128), FILTER)
    expected = whole.crop((64, 16, 128, 112))
    pixels = decode(encode(coffee, "PNG"), spec(fit=Fit.SHORTEST, resize=128))
    assert difference(pixels, np.asarray(expected)).max() <= 1


def test_crop_is_a_cut_and_a_resize(coffee: Image.Image, encode: Encode) -> None:
    expected = coffee.crop((125, 25, 475, 375)).resize((64, 96), FILTER)
    pixels = decode(encode(coffee, "PNG"), spec(fit=Fit.CROP))
    # Beyond the edge of the cut the filter sees the picture; further in than its support the two are equal.
    np.testing.assert_array_equal(pixels[3:-3, 3:-3], np.asarray(expected)[3:-3, 3:-3])
    assert difference(pixels, np.asarray(expected)).mean() < 0.5


def test_shrinking_is_antialiased(encode: Encode) -> None:
    """A chessboard of single pixels becomes grey and not black or white."""
    board = Image.fromarray((np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8))
    for interpolation in (Interpolation.BILINEAR, Interpolation.BICUBIC, Interpolation.LANCZOS):
        pixels = decode(encode(board, "PNG"), spec(interpolation=interpolation))
        assert difference(pixels, np.full_like(pixels, 127)).max() <= 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("colour", Colour)
def test_channel_orders(coffee: Image.Image, encode: Encode, kind: str, colour: Colour) -> None:
    data = encode(coffee, kind)
    rgb = decode(data, spec(), exact=True)
    pixels = decode(data, spec(colour=colour), exact=True)
    if colour is Colour.GREY:
        expected = np.asarray(Image.fromarray(rgb).convert("L"))[..., None]
        assert pixels.shape == (96, 64, 1)
        assert difference(pixels, expected).max() <= 2
    else:
        np.testing.assert_array_equal(pixels, rgb if colour is Colour.RGB else rgb[..., ::-1])


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_pixel_shows_what_it_should(coffee: Image.Image, encode: Encode, mode: str) -> None:
    if mode == "I;16":
        grey = np.asarray(coffee.convert("L"))
        given, shown = Image.fromarray(grey.astype(np.uint16) * 256 + 77), Image.fromarray(grey).convert("RGB")
    else:
        given = coffee.convert("L").convert(mode) if mode == "LA" else coffee.convert(mode)
        shown = given.convert("RGB")
    data = encode(given, "JPEG", quality=100, subsampling=0) if mode == "CMYK" else encode(given, "PNG")
    pixels = decode(data, same_size(given), exact=True)
    assert difference(pixels, np.asarray(shown)).max() <= (6 if mode == "CMYK" else 0)
    shrunk = decode(data, spec())
    assert difference(shrunk, np.asarray(shown.resize((64, 96), FILTER))).mean() < 2


def test_transparent_parts_show_white(coffee: Image.Image, encode: Encode) -> None:
    alpha = Image.new("L", coffee.size, 255)
    alpha.paste(0, (0, 0, 300, 400))
    alpha.paste(128, (300, 0, 450, 400))
    with_alpha = coffee.copy()
    with_alpha.putalpha(alpha)
    grey_alpha = coffee.convert("L")
    grey_alpha.putalpha(alpha)
    for given in (with_alpha, grey_alpha):
        over_white = Image.new("RGBA", coffee.size, "white")
        over_white.alpha_composite(given.convert("RGBA"))
        for kind in ("PNG", "WEBP"):
            data = encode(given.convert("RGBA") if kind == "WEBP" else given, kind, lossless=True)
            pixels = decode(data, same_size(coffee))
            assert difference(pixels, np.asarray(over_white.convert("RGB"))).max() <= 1
            shrunk = decode(data, spec(colour=Colour.GREY))
            # The white half, away from the edge that the filter blurs.
            assert (shrunk[:, :28] == 255).all()


@pytest.mark.parametrize("mode", ["P", "RGB", "L"])
def test_a_transparent_colour_shows_white(encode: Encode, mode: str) -> None:
    given = Image.new(mode, (64, 96), 0 if mode != "RGB" else (1, 2, 3))
    if mode == "P":
        given.putpalette([10, 20, 30, 200, 100, 50])
        given.paste(1, (0, 0, 32, 96))
        key: Any = 0
    else:
        given.paste(200 if mode == "L" else (200, 100, 50), (0, 0, 32, 96))
        key = 0 if mode == "L" else (1, 2, 3)
    pixels = decode(encode(given, "PNG", transparency=key), spec())
    assert (pixels[:, 32:] == 255).all()
    assert pixels[0, 0].tolist() == ([200, 200, 200] if mode == "L" else [200, 100, 50])


def test_deep_colours_keep_their_upper_bits() -> None:
    """A PNG of 16 bits a channel, which Pillow itself cannot write."""
    rows = b"".join(b"\0" + bytes([200, 7, 100, 9, 50, 11]) * 64 for _ in range(96))
    pixels = decode(png(64, 96, 16, 2, rows), spec())
    assert (pixels == np.array([200, 100, 50])).all()
    grey = decode(png(64, 96, 16, 0, b"".join(b"\0" + bytes([200, 255]) * 64 for _ in range(96))), spec())
    assert (grey == 200).all()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("fit", Fit)
def test_the_camera_orientation_is_applied(coffee: Image.Image, encode: Encode, turn: int, kind: str, fit: Fit) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    lossless = {"quality": 95} if kind == "JPEG" else {"lossless": True}
    declared = spec(fit=fit, resize=100)
    stored = encode(coffee, kind, exif=exif.tobytes(), **lossless)
    shown = coffee if turn == 1 else ImageOps.exif_transpose(with_exif(coffee, exif))
    assert shown.size == ((400, 600) if turn >= 5 else (600, 400))
    expected = decode(encode(shown, "PNG"), declared)
    found = decode(stored, declared, exact=True)
    assert difference(found, expected).mean() < (2 if kind == "JPEG" else 0.3)
    assert difference(decode(stored, declared), expected).mean() < 2.5
    if turn > 1:
        upright = decode(encode(coffee, "PNG"), declared)
        assert difference(found, upright).mean() > 10


def with_exif(picture: Image.Image, exif: Image.Exif) -> Image.Image:
    copy = picture.copy()
    copy.getexif().update(exif)
    return copy


def test_metadata_behind_the_pixels_counts(coffee: Image.Image, encode: Encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(coffee, "PNG", exif=exif.tobytes())
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    moved = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    np.testing.assert_array_equal(decode(moved, spec()), decode(data, spec()))
    assert difference(decode(moved, spec()), decode(encode(coffee, "PNG"), spec())).mean() > 10


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x1a\x01\x05\x00\xff" * 40])
def test_broken_metadata_does_not_matter(coffee: Image.Image, encode: Encode, exif: bytes) -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        np.testing.assert_array_equal(
            decode(encode(coffee, kind, exif=exif), spec()), decode(encode(coffee, kind), spec())
        )


@pytest.mark.parametrize("fit", Fit)
@pytest.mark.parametrize("interpolation", [Interpolation.BILINEAR, Interpolation.BICUBIC, Interpolation.LANCZOS])
def test_reduced_decoding_stays_close(
    photographs: dict[str, Image.Image], encode: Encode, fit: Fit, interpolation: Interpolation
) -> None:
    """On real photographs: 3 levels of 255 on average, and 99 % of the values within 20."""
    reduced = 0
    for picture in photographs.values():
        data = encode(picture, "JPEG", quality=90)
        declared = ImageInput("x", 112, 112, fit=fit, resize=128, interpolation=interpolation)
        off = difference(decode(data, declared), decode(data, declared, exact=True))
        reduced += bool(off.any())
        assert off.mean() <= 3
        assert np.quantile(off, 0.99) <= 20
        never = msgspec.structs.replace(declared, reduced_decode=False)
        np.testing.assert_array_equal(decode(data, never), decode(data, declared, exact=True))
    assert reduced >= 4


def test_nothing_is_reduced_below_what_the_resize_needs(coffee: Image.Image, encode: Encode) -> None:
    data = encode(coffee, "JPEG", quality=90)
    for declared in (
        spec(width=301, height=200),
        spec(width=300, height=201),
        spec(width=224, height=224, fit=Fit.CROP),
        spec(interpolation=Interpolation.NEAREST),
    ):
        np.testing.assert_array_equal(decode(data, declared), decode(data, declared, exact=True))


def test_enlarging(encode: Encode) -> None:
    for size in ((1, 1), (1, 50), (7, 3)):
        data = encode(Image.new("RGB", size, (10, 200, 30)), "PNG")
        for fit in Fit:
            pixels = decode(data, spec(fit=fit))
            assert (pixels == np.array([10, 200, 30])).all()


def test_of_an_animation_the_first_frame_is_taken(encode: Encode) -> None:
    frames = [Image.new("RGB", (64, 96), colour) for colour in ("#c86432", "#000000", "#00ff00")]
    for kind in ("WEBP", "GIF", "PNG"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **options)
        assert (decode(data, spec()) == np.array([200, 100, 50])).all(), kind


def test_a_batch_is_the_graphs_input(coffee: Image.Image, encode: Encode) -> None:
    items = [encode(coffee, "PNG"), encode(ImageOps.mirror(coffee), "PNG")]
    declared = spec(scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
    pixels = np.stack([decode(item, declared) for item in items])
    for layout, shape in ((Layout.NCHW, (2, 3, 96, 64)), (Layout.NHWC, (2, 96, 64, 3))):
        turned = msgspec.structs.replace(declared, layout=layout)
        floats = tensor(items, turned)
        assert (floats.dtype, floats.shape) == (np.float32, shape)
        np.testing.assert_array_equal(floats, normalise(pixels, turned))
        fused = tensor(items, msgspec.structs.replace(turned, fused=True))
        np.testing.assert_array_equal(fused, pixels)
        assert fused.flags.writeable
        assert fused.flags.c_contiguous


def test_a_batch_says_which_picture_is_wrong(coffee: Image.Image, encode: Encode) -> None:
    good = encode(coffee, "PNG")
    with pytest.raises(InvalidImage, match=r"^picture 1 of 2: 4 bytes"):
        tensor([good, b"text"], spec())
    with pytest.raises(InvalidImage, match=r"^4 bytes"):
        tensor([b"text"], spec())
    with pytest.raises(PayloadTooLarge, match=r"^picture 0 of 2: .*600 x 400"):
        tensor([good, good], spec(), 1000)
    with pytest.raises(InvalidRequest, match="no picture"):
        tensor([], spec())


def test_many_threads_get_the_same_answers(photographs: dict[str, Image.Image], encode: Encode) -> None:
    items = [encode(p, kind) for p in photographs.values() for kind in ("JPEG", "WEBP")]
    expected = [decode(item, spec()) for item in items]
    with ThreadPoolExecutor(8) as pool:
        for found, want in zip(pool.map(lambda item: decode(item, spec()), items * 3), expected * 3, strict=True):
            np.testing.assert_array_equal(found, want)


def test_the_librarys_settings_are_left_alone(coffee: Image.Image, encode: Encode) -> None:
    def settings() -> tuple[object, ...]:
        limits = (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)
        return (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, *limits)

    before = settings()
    decode(encode(coffee, "JPEG"), spec(), max_pixels=10**9)
    with pytest.raises(PayloadTooLarge):
        decode(encode(coffee, "JPEG"), spec(), max_pixels=10)
    assert settings() == before
