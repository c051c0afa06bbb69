"""From the bytes of one connection to whole requests. Knows no transport; every bound on a request is kept here."""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import NoReturn
from urllib.parse import unquote_to_bytes

import httptools

from portside.errors import InvalidRequest, PayloadTooLarge, PortsideError, Unsupported
from portside.protocol.base import HttpRequest
from portside.server.options import ListenerOptions
from portside.server.patience import Phase

SLICE_BYTES = 16 * 1024
"""Feed no more than this at once: it is what a head may overshoot its bound by before it is refused."""

KEEP = b""
KEEP_ALIVE = b"keep-alive"
CLOSE = b"close"

_HOP_HEADERS = frozenset((b"connection", b"upgrade", b"http2-settings"))
_IDLE, _HEAD, _BODY = Phase.IDLE, Phase.HEAD, Phase.BODY


class Refused(Exception):
    """Nothing that follows on this connection can be read; ``error`` and ``status`` are the answer."""

    def __init__(self, error: PortsideError, status: int) -> None:
        super().__init__(error.message)
        self.error = error
        self.status = status


class RequestReader:
    """Reads requests one after another.

    Attributes:
        ready: complete requests in order, each with the value of Connection that its reply needs.
        phase: what is being waited for.
        messages: how many requests have begun.
        received: bytes of the present body.
        wants_continue: whether the peer waits for ``100 Continue`` before it sends its body.
    """

    __slots__ = ("_barren", "_body", "_fields", "_head", "_head_fed", "_options", "_parser", "_refused", "_repeats",
                 "_seen", "_strict", "_upgrade", "_url", "messages", "phase", "ready", "received",
                 "wants_continue")  # fmt: skip

    def __init__(self, options: ListenerOptions) -> None:
        self.ready: deque[tuple[HttpRequest, bytes]] = deque()
        self.phase = _IDLE
        self.messages = self.received = 0
        self.wants_continue = False
        self._options = options
        self._strict = options.header_bytes < SLICE_BYTES
        self._parser = httptools.HttpRequestParser(self)
        self._refused: Refused | None = None
        self._url = b""
        self._fields: dict[bytes, bytes] = {}
        self._head = self._fields
        self._body: bytes | bytearray = b""
        self._repeats = self._head_fed = self._barren = self._seen = 0
        self._upgrade = False

    def feed(self, data: bytes | memoryview) -> None:
        """Takes at most ``SLICE_BYTES`` bytes as they came; complete requests are then in ``ready``.

        Raises:
            Refused: something is malformed or over a bound. Requests in ``ready`` came before it.
        """
        phase, messages = self.phase, self.messages
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as e:
            self._go_on_without_upgrade(data[e.args[0] :])
        except httptools.HttpParserError as e:
            raise (self._refused or _malformed(str(e))) from e
        if self.phase is not _IDLE and phase is self.phase and messages == self.messages:
            self._bound(len(data))

    def close(self) -> None:
        """Forgets everything (and the parser, which refers back to here)."""
        self.ready.clear()
        self._parser = None

    # -- called by the parser -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A first byte."""
        self.phase = _HEAD
        self.messages += 1
        self._url = self._body = b""
        self._fields = {}
        self._head_fed = self._repeats = self.received = 0

    def on_url(self, url: bytes) -> None:
        """The target, or a piece of it."""
        self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field; after the body it is a trailer, which nobody reads."""
        name = name.lower()
        fields = self._fields
        if name in fields:
            self._repeat(name, value)
        else:
            fields[name] = value

    def on_headers_complete(self) -> None:
        """Everything about a head is decided before a byte of the body is read."""
        self._head = head = self._fields
        options = self._options
        if self._head_fed or self._strict or len(head) > options.header_count or len(self._url) > options.target_bytes:
            self._check_head()
        if b"host" not in head and self._parser.get_http_version() != "1.0":
            self._refuse(InvalidRequest("the request has no Host header, which HTTP/1.1 demands"), 400)
        length = head.get(b"content-length")
        if length is not None:
            if len(length) > 15 or int(length) > options.body_bytes:
                self._refuse(self._too_large(length[:24].decode("ascii")), 413)
        elif b"transfer-encoding" in head:
            self._begin_chunked(head[b"transfer-encoding"])
        if b"expect" in head:
            self._expect(head[b"expect"])
        self._upgrade = b"upgrade" in head and bool(self._parser.should_upgrade())
        self.phase = _BODY
        self._seen = self._barren = 0

    def on_body(self, data: bytes) -> None:
        """A piece of the body. Many tiny pieces cost no more memory than few large ones."""
        body = self._body
        if not body:
            self._body = data
        elif isinstance(body, bytearray):
            body += data
        else:
            self._body = bytearray(body) + data
        self.received += len(data)
        if self.received > self._options.body_bytes:
            self._refuse(self._too_large(f"{self.received} or more"), 413)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._upgrade:
            return
        try:
            path, query = split_target(self._url)
        except InvalidRequest as e:
            self._refuse(e, 400)
        parser, head, body = self._parser, self._head, self._body
        method = parser.get_method().decode("ascii")
        if method == "CONNECT":
            self._refuse(InvalidRequest("CONNECT is for proxies, and this is none"), 400)
        connection = KEEP if parser.should_keep_alive() else CLOSE
        if connection is KEEP and b"connection" in head and parser.get_http_version() == "1.0":
            connection = KEEP_ALIVE
        whole = body if isinstance(body, bytes) else bytes(body)
        self.ready.append((HttpRequest(method, path, query, head, whole), connection))
        self.phase = _IDLE
        self._body = b""
        self.wants_continue = False

    # -- the rarer cases ------------------------------------------------------------------------------------------

    def _bound(self, fed_bytes: int) -> None:
        """Bounds what is neither a complete field nor a part of a body: the parser would collect it for ever."""
        if self.phase is _HEAD:
            self._head_fed += fed_bytes
            if self._head_fed > self._options.header_bytes:
                raise self._head_too_large(len(self._url))
        elif self.received != self._seen:
            self._seen, self._barren = self.received, 0
        else:
            self._barren += fed_bytes
            if self._barren > self._options.header_bytes:
                raise Refused(PayloadTooLarge("the chunks of the body hold more framing than data"), 400)

    def _check_head(self) -> None:
        options = self._options
        total = len(self._url) + sum(len(n) + len(v) + 4 for n, v in self._head.items())
        if len(self._url) > options.target_bytes or total > options.header_bytes:
            self._refused = self._head_too_large(len(self._url))
            raise self._refused
        if len(self._head) + self._repeats > options.header_count:
            self._refuse(PayloadTooLarge(f"the request has more than {options.header_count} header fields"), 431)

    def _repeat(self, name: bytes, value: bytes) -> None:
        self._repeats += 1
        if self._repeats > self._options.header_count:
            self._refuse(PayloadTooLarge(f"more than {self._options.header_count} repeated header fields"), 431)
        if name == b"host":
            self._refuse(InvalidRequest("the request has two Host headers"), 400)
        self._fields[name] += b", " + value

    def _begin_chunked(self, encoding: bytes) -> None:
        if encoding.strip().lower() != b"chunked":
            self._refuse(Unsupported("the only Transfer-Encoding read here is 'chunked'"), 501)
        self._fields = {}  # trailers must not pass for headers

    def _expect(self, value: bytes) -> None:
        if self._parser.get_http_version() == "1.0":
            return
        if value.strip().lower() != b"100-continue":
            self._refuse(InvalidRequest("the only expectation met here is '100-continue'"), 417)
        self.wants_continue = True

    def _go_on_without_upgrade(self, rest: bytes | memoryview) -> None:
        """Reads a request that asks for another protocol as if it had not, which HTTP allows.

        The parser takes what follows such a head for that other protocol, so a fresh one gets a head without the wish.
        """
        head = b"".join(b"%b: %b\r\n" % item for item in self._head.items() if item[0] not in _HOP_HEADERS)
        line = b"%b %b HTTP/1.1\r\n" % (self._parser.get_method(), self._url)
        if line.startswith(b"CONNECT "):
            raise Refused(InvalidRequest("CONNECT is for proxies, and this is none"), 400)
        self._parser = httptools.HttpRequestParser(self)
        self.phase = _IDLE
        self.feed(line + head + b"\r\n")
        if rest:
            self.feed(rest)

    def _refuse(self, error: PortsideError, status: int) -> NoReturn:
        """Leaves the parser's callback; ``feed`` raises the same again."""
        self._refused = Refused(error, status)
        raise self._refused

    def _too_large(self, length: str) -> PayloadTooLarge:
        most = self._options.body_bytes
        return PayloadTooLarge(f"the body has {length} bytes, at most {most} are read: send fewer items at a time")

    def _head_too_large(self, url_bytes: int) -> Refused:
        options = self._options
        if url_bytes > options.target_bytes:
            return Refused(PayloadTooLarge(f"the address is longer than {options.target_bytes} bytes"), 414)
        return Refused(PayloadTooLarge(f"the header is longer than {options.header_bytes} bytes"), 431)


@lru_cache(maxsize=256)
def split_target(target: bytes) -> tuple[str, bytes]:
    """Percent-decoded path, and the raw query, of a request target (also of one in absolute form).

    Raises:
        InvalidRequest: it is not a path, or not UTF-8 once decoded.
    """
    if not target.startswith(b"/"):
        scheme, _, rest = target.partition(b"://")
        if target == b"*":
            return "*", b""
        if scheme.lower() not in {b"http", b"https"}:
            raise InvalidRequest("the request's target is neither a path nor an http address")
        target = rest[rest.find(b"/") :] if b"/" in rest else b"/"
    path, _, query = target.partition(b"?")
    try:
        return (unquote_to_bytes(path) if b"%" in path else path).decode("utf-8"), query
    except UnicodeDecodeError:
        raise InvalidRequest("the path is not UTF-8 after percent-decoding") from None


def _malformed(why: str) -> Refused:
    return Refused(InvalidRequest(f"this is not an HTTP/1.1 request: {why}"), 400)
