from __future__ import annotations

import gzip
import zlib

import pytest

from portside.errors import InvalidRequest, PayloadTooLarge, UnsupportedMedia
from portside.protocol.base import HttpRequest
from portside.server.content import decoded, inflate


def request(encoding: bytes, body: bytes) -> HttpRequest:
    return HttpRequest("POST", "/a", b"q", {b"content-encoding": encoding}, body)


@pytest.mark.parametrize("encoding", [b"gzip", b"GZIP ", b"x-gzip", b"deflate"])
@pytest.mark.parametrize("size", [0, 10, 200_000])
async def test_gzip_and_zlib(encoding: bytes, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    packed = zlib.compress(body, 1) if encoding == b"deflate" else gzip.compress(body, 0)
    given = request(encoding, packed)
    found = await decoded(given, 1_000_000)
    assert found.body == body
    assert (found.path, found.query) == ("/a", b"q")
    assert given.body == packed, "the caller's request stays as it was"


async def test_identity_is_nothing_to_do() -> None:
    given = request(b"identity", b"abc")
    assert await decoded(given, 10) is given


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, deflate", b"compress"])
async def test_other_encodings(encoding: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="gzip, deflate or none"):
        await decoded(request(encoding, b"abc"), 10)


def test_raw_deflate_and_several_members() -> None:
    raw = zlib.compressobj(wbits=-15)
    assert inflate(raw.compress(b"hello") + raw.flush(), 100) == b"hello"
    assert inflate(gzip.compress(b"hel") + gzip.compress(b"lo"), 100) == b"hello"


@pytest.mark.parametrize(
    "data", [b"hello", b"\x1f\x8b garbage", gzip.compress(b"hello" * 99, mtime=0)[:-4], b"\xff" * 50]
)
def test_what_is_not_compressed(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        inflate(data, 1000)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("member", [gzip.compress(b""), b"\x03\x00", zlib.compress(b"")])
def test_a_body_of_empty_members_costs_no_more_than_its_length(member: bytes) -> None:
    assert inflate(member * 4096, 10) == b""
    with pytest.raises(PayloadTooLarge, match="4096 members"):
        inflate(member * (30_000_000 // len(member)), 10)


def test_members_and_slices_do_not_have_to_meet() -> None:
    body = bytes(range(256)) * 1000
    assert inflate(gzip.compress(body, 0) * 3, 1_000_000) == body * 3
    with pytest.raises(InvalidRequest, match="cut short"):
        inflate((gzip.compress(body, 0) * 2)[:-1], 1_000_000)


def test_the_bound_is_exact_and_a_bomb_stops_there() -> None:
    assert inflate(gzip.compress(b"x" * 1000), 1000) == b"x" * 1000
    with pytest.raises(PayloadTooLarge, match="more than 999 bytes"):
        inflate(gzip.compress(b"x" * 1000), 999)
    members = gzip.compress(b"x" * 600) * 2
    with pytest.raises(PayloadTooLarge):
        inflate(members, 1000)
    with pytest.raises(PayloadTooLarge):
        inflate(gzip.compress(bytes(50_000_000)), 1000)
