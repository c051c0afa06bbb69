"""Replies as bytes."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

import msgspec

from portside.errors import PortsideError
from portside.protocol.base import HttpReply
from portside.protocol.status import http_status

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JOIN_BYTES = 64 * 1024
"""Above this a body is written after its head instead of being copied behind it."""

_REASONS = {s.value: s.phrase.encode() for s in HTTPStatus} | {499: b"Client Closed Request"}


class Heads:
    """Heads of replies, ready but for the length; renewed whenever the date changes.

    Used from the event loop's thread only.
    """

    __slots__ = ("_date", "_ready")

    def __init__(self) -> None:
        self._date = b""
        self._ready: dict[tuple[int, bytes], bytes] = {}

    def set_time(self, wall_s: float) -> None:
        """Renews the Date header; ``wall_s`` is seconds since the epoch."""
        self._date = formatdate(wall_s, usegmt=True).encode()
        self._ready.clear()

    def head(self, status: int, content_type: bytes) -> bytes:
        """Status line and common headers, ending with ``content-length: ``."""
        found = self._ready.get((status, content_type))
        if found is None:
            found = b"HTTP/1.1 %d %b\r\ndate: %b\r\ncontent-type: %b\r\ncontent-length: " % (
                status,
                _REASONS.get(status, b"Status"),
                self._date,
                _clean(content_type),
            )
            self._ready[status, content_type] = found
        return found

    def render(self, reply: HttpReply, connection: bytes = b"") -> bytes:
        """The whole head of a reply; ``connection`` is the value of that header, empty for none."""
        extra = b"".join(b"%b: %b\r\n" % (_clean(n), _clean(v)) for n, v in reply.headers)
        if connection:
            extra += b"connection: %b\r\n" % connection
        return b"%b%d\r\n%b\r\n" % (self.head(reply.status, reply.content_type), len(reply.body), extra)


def refusal(error: PortsideError, status: int | None = None) -> HttpReply:
    """The answer to something that is not yet a request of any protocol: ``{"error": "..."}``."""
    return HttpReply(http_status(error.code) if status is None else status, error_body(error.message))


def internal_error() -> HttpReply:
    """The answer when the handler itself broke."""
    return HttpReply(500, error_body("the server failed to answer; its log says why"))


def error_body(message: str) -> bytes:
    """``{"error": message}``."""
    return msgspec.json.encode({"error": message})


def _clean(value: bytes) -> bytes:
    """A header value cannot end its line, whoever chose it."""
    return value.replace(b"\r", b" ").replace(b"\n", b" ")
