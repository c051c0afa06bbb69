"""Pictures that are not as they should be: whatever comes in, an array or one of our errors comes out, soon."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from portside.errors import InvalidImage, PayloadTooLarge, PortsideError
from portside.model.processing import Colour, Fit, ImageInput
from portside.processing.image import decode

Encode = Callable[..., bytes]
SPEC = ImageInput("x", 32, 24, fit=Fit.SHORTEST, resize=40)
MAGIC = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBPVP8 ", b"GIF89a", b"BM"]


def _samples() -> list[bytes]:
    content = np.random.default_rng(3).integers(0, 256, (50, 60, 3), np.uint8)
    smooth = Image.fromarray(content).resize((120, 90), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    forms: list[tuple[Image.Image, str, dict[str, object]]] = [
        (smooth, "JPEG", {"quality": 80, "exif": exif.tobytes()}),
        (smooth, "JPEG", {"quality": 60, "progressive": True}),
        (smooth.convert("CMYK"), "JPEG", {}),
        (smooth, "PNG", {"exif": exif.tobytes()}),
        (smooth.convert("P"), "PNG", {"transparency": 3}),
        (smooth.convert("RGBA"), "PNG", {"save_all": True, "append_images": [smooth.convert("RGBA").rotate(90)]}),
        (smooth, "WEBP", {"exif": exif.tobytes()}),
        (smooth.convert("RGBA"), "WEBP", {"lossless": True}),
        (smooth, "WEBP", {"save_all": True, "append_images": [smooth.rotate(90)]}),
        (smooth.convert("P"), "GIF", {"save_all": True, "append_images": [smooth.convert("P").rotate(90)]}),
        (smooth, "BMP", {}),
    ]
    made = []
    for picture, kind, options in forms:
        out = BytesIO()
        picture.save(out, kind, **options)
        made.append(out.getvalue())
    return made


SAMPLES = _samples()


def survives(data: bytes, spec: ImageInput = SPEC) -> bool:
    """Whether it gave an array; anything but an array or our error fails the test, as does a warning."""
    try:
        pixels = decode(data, spec, max_pixels=1_000_000)
    except (InvalidImage, PayloadTooLarge) as e:
        error = e
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape == (spec.height, spec.width, spec.channels)
        return True
    assert len(error.message) < 400
    assert "Warning" not in (error.detail or ""), error.detail
    return False


def test_the_samples_are_good() -> None:
    assert all(survives(sample) for sample in SAMPLES)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(MAGIC), st.binary(max_size=400))
def test_random_bytes(magic: bytes, data: bytes) -> None:
    survives(magic + data)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SAMPLES), st.floats(0.0, 1.0, exclude_max=True))
def test_truncations(sample: bytes, part: float) -> None:
    survives(sample[: int(len(sample) * part)])


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(SAMPLES), st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=6)
)
def test_flipped_bits(sample: bytes, flips: list[tuple[float, int]]) -> None:
    data = bytearray(sample)
    for place, mask in flips:
        # Squared, so that headers are hit as often as the bulk.
        data[int(place * place * len(data))] ^= mask
    survives(bytes(data))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SAMPLES), st.integers(8, 60), st.binary(min_size=1, max_size=8), st.sampled_from(Colour))
def test_overwritten_headers(sample: bytes, at: int, patch: bytes, colour: Colour) -> None:
    mean = (0.0,) if colour is Colour.GREY else (0.0, 0.0, 0.0)
    survives(sample[:at] + patch + sample[at + len(patch) :], ImageInput("x", 8, 8, colour=colour, mean=mean))


@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_cut_off_photograph_says_so(coffee: Image.Image, encode: Encode, kind: str, part: float) -> None:
    data = encode(coffee, kind)
    with pytest.raises(InvalidImage, match=r"cut off.*intact file") as caught:
        decode(data[: int(len(data) * part)], SPEC)
    assert caught.value.detail


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    idat = b"IDAT" + zlib.compress(bytes(1000))
    return data + struct.pack(">I", len(idat) - 4) + idat + struct.pack(">I", zlib.crc32(idat))


def jpeg_of(width: int, height: int) -> bytes:
    data = SAMPLES[0]
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def webp_of(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x00\x01\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + canvas + bytes(100)


def gif_of(width: int, height: int) -> bytes:
    screen = b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0, 0, 0)
    return screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x08\x01\0\0;"


def bmp_of(width: int, height: int) -> bytes:
    return (
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 154, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(100)
    )


@pytest.mark.parametrize("make", [png_header, jpeg_of, webp_of, gif_of, bmp_of])
def test_a_bomb_is_refused_from_its_header(make: Callable[[int, int], bytes]) -> None:
    with pytest.raises(PayloadTooLarge, match="60000 x 50000 = 3000000000 pixels; at most 64000000"):
        decode(make(60_000, 50_000), SPEC)
    with pytest.raises(PayloadTooLarge, match="400 x 300 = 120000 pixels; at most 119999"):
        decode(make(400, 300), SPEC, max_pixels=119_999)


def test_a_side_no_filter_should_see_is_refused() -> None:
    """Few pixels, but the table of filter weights would grow with the side."""
    with pytest.raises(PayloadTooLarge, match="65535 a side"):
        decode(png_header(40_000_000, 1), SPEC)


@pytest.mark.parametrize("make", [png_header, jpeg_of, webp_of, bmp_of])
def test_no_side_may_be_zero(make: Callable[[int, int], bytes]) -> None:
    for size in ((0, 10), (10, 0)):
        if make is webp_of:
            continue
        with pytest.raises(InvalidImage):
            decode(make(*size), SPEC)


@pytest.mark.parametrize("make", [png_header, jpeg_of, webp_of, gif_of, bmp_of])
def test_the_library_does_not_warn_about_what_was_allowed(make: Callable[[int, int], bytes]) -> None:
    """100 million pixels, over the library's own threshold for a warning, allowed here by the caller."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        # Most of these hold too little data; a JPEG decoder paints the rest grey.
        with suppress(PortsideError):
            decode(make(65_000, 1_540), SPEC, max_pixels=110_000_000)
    assert [str(w.message) for w in seen] == []


def test_an_animation_that_is_announced_wrongly_is_a_still_picture(encode: Encode) -> None:
    frames = [Image.new("RGB", (24, 32), c) for c in ("#c86432", "#000000")]
    data = encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    at = data.index(b"acTL")
    body = b"acTL" + bytes(8)
    broken = data[:at] + body + struct.pack(">I", zlib.crc32(body)) + data[at + 16 :]
    assert (decode(broken, ImageInput("x", 32, 24)) == np.array([200, 100, 50])).all()


def test_endless_passes_over_a_picture_are_refused() -> None:
    progressive = SAMPLES[1]
    start = progressive.rindex(b"\xff\xda")
    scan = progressive[start:-2]
    assert survives(progressive)
    with pytest.raises(InvalidImage, match="scans"):
        decode(progressive[:-2] + scan * 200 + b"\xff\xd9", SPEC)


@pytest.mark.parametrize("data", [b"", b"\0", b"hello", b"%PDF-1.7", b"<svg xmlns='x'/>", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_told_what_is_read(data: bytes) -> None:
    with pytest.raises(InvalidImage) as caught:
        decode(data, SPEC)
    assert "JPEG" in caught.value.message
