from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.processing.exif import orientation


def block(order: str, entries: list[tuple[int, int, int, int]], *, prefix: bytes = b"Exif\0\0") -> bytes:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    body = struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        body += struct.pack(order + "HHIHxx", tag, kind, count, value)
    return prefix + head + body + bytes(4)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_every_orientation_is_read(value: int, order: str, prefix: bytes) -> None:
    entries = [(0x0100, 3, 1, 640), (0x0112, 3, 1, value), (0x0128, 3, 1, 2)]
    assert orientation(block(order, entries, prefix=prefix)) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0XX*\0\x08\0\0\0",
        block("<", []),
        block("<", [(0x0112, 3, 1, 0)]),
        block("<", [(0x0112, 3, 1, 9)]),
        block("<", [(0x0112, 4, 1, 6)]),
        block("<", [(0x0112, 3, 2, 6)]),
        block("<", [(0x0112, 3, 1, 6)])[:20],
        b"II*\0\xff\xff\xff\xff",
    ],
)
def test_what_cannot_be_read_is_upright(data: bytes) -> None:
    assert orientation(data) == 1


@given(st.binary(max_size=200), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]))
def test_any_bytes_give_an_orientation(data: bytes, head: bytes) -> None:
    assert 1 <= orientation(head + data) <= 8
