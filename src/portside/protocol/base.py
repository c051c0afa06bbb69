"""What codecs take from a transport and give back to it. No sockets here."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

JSON = b"application/json"
OCTETS = b"application/octet-stream"
TEXT = b"text/plain; charset=utf-8"
HTML = b"text/html; charset=utf-8"


class HttpRequest(msgspec.Struct):
    """One complete request, body read, limits already applied by the transport.

    Attributes:
        method: upper-case verb.
        path: percent-decoded path without the query, starting with ``/``.
        query: the raw query string.
        headers: names in lower case; of a repeated header the values joined with ``, ``.
        body: the whole body, transfer-decoded. Arrays may be views into it.
    """

    method: str
    path: str
    query: bytes = b""
    headers: Mapping[bytes, bytes] = {}
    body: bytes | memoryview = b""


class HttpReply(msgspec.Struct):
    """One complete answer.

    Attributes:
        status: HTTP status.
        body: the whole body; the transport adds Content-Length.
        content_type: value of Content-Type.
        headers: further headers, names in lower case.
    """

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Limits(msgspec.Struct, frozen=True):
    """Bounds on what one request may ask for; the same on every front end.

    Attributes:
        body_bytes: longest body.
        json_depth: deepest nesting of a JSON document.
        elements: most tensor elements in one request.
        items: most raw items (pictures) in one request.
        pixels: most pixels of one picture, as its header states them.
    """

    body_bytes: int = 64 * 1024 * 1024
    json_depth: int = 64
    elements: int = 64 * 1024 * 1024
    items: int = 256
    pixels: int = 64_000_000
