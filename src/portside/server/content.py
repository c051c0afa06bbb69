"""Content-Encoding of request bodies, with a bound on what they may grow to."""

from __future__ import annotations

import asyncio
import zlib

import msgspec

from portside.errors import InvalidRequest, PayloadTooLarge, UnsupportedMedia
from portside.protocol.base import HttpRequest

_INLINE_BYTES = 64 * 1024
_SLICE_BYTES = 64 * 1024
_MOST_MEMBERS = 4096
"""Tools that compress block by block write a member for 64 kB or more; an empty one takes two bytes."""
_AUTOMATIC = 47  # zlib's window bits for "gzip or zlib, look at the header"
_RAW = -15


async def decoded(request: HttpRequest, limit_bytes: int) -> HttpRequest:
    """The request with its body as it was before the client compressed it.

    Args:
        request: has a Content-Encoding header.
        limit_bytes: longest body after decompression.

    Raises:
        UnsupportedMedia: another encoding than gzip or deflate, or several.
        InvalidRequest: the body is not what the header says.
        PayloadTooLarge: it grows beyond the limit.
    """
    encoding = request.headers[b"content-encoding"].strip().lower()
    if encoding in {b"", b"identity"}:
        return request
    if encoding not in {b"gzip", b"x-gzip", b"deflate"}:
        shown = encoding[:40].decode("ascii", "replace")
        raise UnsupportedMedia(f"Content-Encoding {shown!r} is not read here: send gzip, deflate or none")
    if len(request.body) <= _INLINE_BYTES:
        body = inflate(request.body, limit_bytes)
    else:
        body = await asyncio.to_thread(inflate, request.body, limit_bytes)
    return msgspec.structs.replace(request, body=body)


def inflate(data: bytes | memoryview, limit_bytes: int) -> bytes:
    """Decompresses gzip (any number of members), zlib or raw deflate.

    Raises:
        InvalidRequest: neither of them, damaged or cut short.
        PayloadTooLarge: more than ``limit_bytes`` come out (no more than that is ever held), or too many members.
    """
    try:
        return _inflate(memoryview(data), limit_bytes, _AUTOMATIC)
    except zlib.error as e:
        try:
            return _inflate(memoryview(data), limit_bytes, _RAW)
        except zlib.error:
            raise InvalidRequest(f"the body is not gzip or deflate as its Content-Encoding says: {e}") from e


def _inflate(data: memoryview, limit_bytes: int, window_bits: int) -> bytes:
    parts: list[bytes] = []
    room = limit_bytes + 1
    at = members = 0
    while at < len(data):
        members += 1
        if members > _MOST_MEMBERS:
            raise PayloadTooLarge(
                f"the compressed body has more than {_MOST_MEMBERS} members: compress it in one piece"
            )
        inflater = zlib.decompressobj(window_bits)
        while not inflater.eof:
            if at == len(data):
                raise InvalidRequest("the compressed body is cut short: send all of it")
            # In slices, because whatever follows the end of a member is copied.
            piece = data[at : at + _SLICE_BYTES]
            part = inflater.decompress(piece, room)
            parts.append(part)
            room -= len(part)
            if room <= 0:
                raise PayloadTooLarge(
                    f"the body decompresses to more than {limit_bytes} bytes: send fewer items at a time"
                )
            at += len(piece) - len(inflater.unused_data)
    return b"".join(parts)
