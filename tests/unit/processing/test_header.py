from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from portside.errors import InvalidImage
from portside.processing.header import Kind, gif_size, kind_of, webp_size, without_animation

Encode = Callable[..., bytes]


@pytest.mark.parametrize(("name", "kind"), [(k.name, k) for k in Kind])
def test_kinds_are_recognised(encode: Encode, name: str, kind: Kind) -> None:
    assert kind_of(encode(Image.new("RGB", (3, 2)), name)) is kind


@pytest.mark.parametrize("data", [b"%PDF-1.7", b"<svg/>", b"RIFF\0\0\0\0WAVE", b"\xff\xd8", b"II*\0", b"\0", b"hello"])
def test_others_are_refused_with_what_is_read(data: bytes) -> None:
    with pytest.raises(InvalidImage, match="JPEG, PNG, WebP, GIF, BMP"):
        kind_of(data)
    with pytest.raises(InvalidImage, match="empty"):
        kind_of(b"")


@pytest.mark.parametrize("size", [(1, 1), (255, 256), (700, 33)])
@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}, {"exif": b"Exif\0\0", "quality": 50}])
def test_webp_sizes(encode: Encode, size: tuple[int, int], options: dict[str, object]) -> None:
    assert webp_size(encode(Image.new("RGB", size), "WEBP", **options)) == size


def test_gif_sizes(encode: Encode) -> None:
    data = encode(Image.new("P", (30, 20)), "GIF", comment=b"c" * 700)
    assert gif_size(data) == (30, 20)
    frame = data.index(b",\0\0\0\0")
    wide = data[: frame + 1] + b"\x05\0\x06\0\xff\xff\xfe\xff" + data[frame + 9 :]
    assert gif_size(wide) == (65540, 65540)


@given(st.binary(max_size=60), st.sampled_from([b"VP8X", b"VP8L", b"VP8 ", b"ABCD"]))
def test_any_webp_header_gives_a_size_or_our_error(data: bytes, chunk: bytes) -> None:
    try:
        across, down = webp_size(b"RIFF\0\0\0\0WEBP" + chunk + data)
    except InvalidImage:
        return
    assert across >= 0
    assert down >= 0


@given(st.binary(max_size=80))
def test_any_gif_header_gives_a_size_or_our_error(data: bytes) -> None:
    try:
        across, down = gif_size(b"GIF89a" + data)
    except InvalidImage:
        return
    assert across >= 0
    assert down >= 0


def test_a_png_loses_only_its_animation(encode: Encode) -> None:
    still = encode(Image.new("RGB", (9, 9), "red"), "PNG")
    assert without_animation(still) is still
    frames = [Image.new("RGB", (9, 9), c) for c in ("red", "blue")]
    moving = encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    stripped = without_animation(moving)
    assert b"acTL" in moving
    assert not any(name in stripped for name in (b"acTL", b"fcTL", b"fdAT"))
    assert stripped.endswith(still[-12:])


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_stripping_any_bytes_ends(before: bytes, after: bytes) -> None:
    assert len(without_animation(before + b"acTL" + after)) <= len(before + after) + 4
