"""What kind of picture some bytes are, and the sizes that must be known before the picture library sees them."""

from __future__ import annotations

import struct
from enum import Enum

from portside.errors import InvalidImage


class Kind(Enum):
    """The formats that are read."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    GIF = "GIF"
    BMP = "BMP"


READABLE = ", ".join(kind.value for kind in Kind)


def kind_of(data: bytes) -> Kind:
    """Recognises a picture by its first bytes. Raises InvalidImage, saying what was seen and what is read."""
    if not data:
        raise InvalidImage(f"the picture is empty (0 bytes): send the bytes of a {READABLE} file")
    if data.startswith(b"\xff\xd8\xff"):
        return Kind.JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return Kind.PNG
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Kind.WEBP
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Kind.GIF
    if data.startswith(b"BM"):
        return Kind.BMP
    raise InvalidImage(
        f"{len(data)} bytes that start with {data[:8]!r} are not a picture that can be read here: send {READABLE}"
    )


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height that a WebP declares. Its decoder takes memory for them as soon as it is opened.

    Raises:
        InvalidImage: no size where one has to be.
    """
    try:
        if data[12:16] == b"VP8X":
            across, down = int.from_bytes(data[24:27], "little"), int.from_bytes(data[27:30], "little")
            return across + 1, down + 1
        if data[12:16] == b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        if data[12:16] == b"VP8 ":
            across, down = struct.unpack_from("<HH", data, 26)
            return across & 0x3FFF, down & 0x3FFF
    except struct.error as e:
        raise InvalidImage("the WebP picture is cut off inside its header: send the whole file") from e
    raise InvalidImage("the WebP picture has no size in its header: it is damaged, send an intact file")


def gif_size(data: bytes) -> tuple[int, int]:
    """Width and height that hold a GIF's screen and its first frame.

    Raises:
        InvalidImage: there is no frame.
    """
    try:
        across, down, flags = struct.unpack_from("<HHB", data, 6)
        at = 13 + _palette_bytes(flags)
        while data[at] == ord("!"):
            at = _after_blocks(data, at + 2)
        if data[at] == ord(","):
            left, top, width, height = struct.unpack_from("<HHHH", data, at + 1)
            return max(across, left + width), max(down, top + height)
    except (struct.error, IndexError) as e:
        raise InvalidImage("the GIF picture is cut off before its first frame: send the whole file") from e
    raise InvalidImage("the GIF picture has no frame: it is damaged, send an intact file")


def _palette_bytes(flags: int) -> int:
    return 6 << (flags & 7) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += 1 + data[at]
    return at + 1


def without_animation(data: bytes) -> bytes:
    """A PNG without the chunks that announce an animation: what stays is the picture every PNG reader shows.

    A broken announcement would make the library warn through the ``warnings`` module, which is the whole process's.
    """
    if b"acTL" not in data:
        return data
    kept, at = [data[:8]], 8
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in {b"acTL", b"fcTL", b"fdAT"}:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)
