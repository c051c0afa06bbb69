"""The one thing in a picture's metadata that changes what it shows: its orientation.

Written here, and not left to the picture library, because that one reads the whole metadata tree and complains through
the ``warnings`` module about the many cameras that write it wrongly.
"""

from __future__ import annotations

import struct

UPRIGHT = 1
_TAG = 0x0112
_SHORT = 3
_MAX_ENTRIES = 512


def orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, in an EXIF block (with or without its ``Exif`` prefix); 1 for anything unreadable.

    1 is upright, 2 mirrored left-right, 3 turned by 180 degrees, 4 mirrored top-bottom, 5 transposed, 6 to be turned
    clockwise by 90 degrees, 7 transposed over the other diagonal, 8 to be turned counter-clockwise by 90 degrees.
    """
    block = exif[6:] if exif[:6] == b"Exif\0\0" else exif
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if order is None:
        return UPRIGHT
    try:
        return _first_directory(block, order)
    except struct.error:
        return UPRIGHT


def _first_directory(block: bytes, order: str) -> int:
    (start,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, start)
    for entry in range(min(count, _MAX_ENTRIES)):
        tag, kind, length, value = struct.unpack_from(order + "HHIH", block, start + 2 + 12 * entry)
        if tag == _TAG:
            return value if kind == _SHORT and length == 1 and 1 <= value <= 8 else UPRIGHT
    return UPRIGHT
