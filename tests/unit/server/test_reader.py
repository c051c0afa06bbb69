from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portside.errors import InvalidRequest
from portside.protocol.base import HttpRequest
from portside.server.options import ListenerOptions
from portside.server.patience import Phase
from portside.server.reader import CLOSE, KEEP, KEEP_ALIVE, SLICE_BYTES, Refused, RequestReader, split_target

OPTIONS = ListenerOptions(body_bytes=1000, target_bytes=200, header_bytes=2000, header_count=10)
HEAD = b"POST /a/b?c=d HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n"


def read(data: bytes, options: ListenerOptions = OPTIONS) -> list[tuple[HttpRequest, bytes]]:
    reader = RequestReader(options)
    for at in range(0, len(data), SLICE_BYTES):
        reader.feed(data[at : at + SLICE_BYTES])
    return list(reader.ready)


def refused(data: bytes, options: ListenerOptions = OPTIONS) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        read(data, options)
    return caught.value.status, caught.value.error.message


def test_a_whole_request() -> None:
    ((request, connection),) = read(HEAD + b"hello")
    assert (request.method, request.path, request.query, request.body) == ("POST", "/a/b", b"c=d", b"hello")
    assert request.headers == {b"host": b"h", b"content-type": b"application/json", b"content-length": b"5"}
    assert connection is KEEP


@given(st.lists(st.integers(1, 60), max_size=12))
def test_cuts_do_not_matter(cuts: list[int]) -> None:
    data = HEAD + b"hello" + b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
    reader = RequestReader(OPTIONS)
    at = 0
    for cut in [*cuts, len(data)]:
        reader.feed(data[at : at + cut])
        at += cut
    assert [(r.method, r.path, r.body) for r, _ in reader.ready] == [("POST", "/a/b", b"hello"), ("GET", "/next", b"")]


def test_phases() -> None:
    reader = RequestReader(OPTIONS)
    assert (reader.phase, reader.messages) == (Phase.IDLE, 0)
    reader.feed(HEAD[:20])
    assert (reader.phase, reader.messages) == (Phase.HEAD, 1)
    reader.feed(HEAD[20:] + b"he")
    assert (reader.phase, reader.received) == (Phase.BODY, 2)
    reader.feed(b"llo")
    assert reader.phase is Phase.IDLE


def test_a_chunked_body_and_its_trailers() -> None:
    data = (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nContent-Encoding: gzip\r\nHost: evil\r\n\r\n"
    )
    ((request, _),) = read(data)
    assert request.body == b"abcde"
    assert b"content-encoding" not in request.headers
    assert request.headers[b"host"] == b"h"


def test_names_are_lower_case_and_repeated_values_are_joined() -> None:
    ((request, _),) = read(b"GET / HTTP/1.1\r\nHOST: h\r\nX-A: 1\r\nx-a: 2\r\n\r\n")
    assert request.headers[b"x-a"] == b"1, 2"


@pytest.mark.parametrize(
    ("head", "connection"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", KEEP),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", KEEP),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", CLOSE),
        (b"GET / HTTP/1.0\r\n\r\n", CLOSE),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", KEEP_ALIVE),
    ],
)
def test_whether_the_connection_lives_on(head: bytes, connection: bytes) -> None:
    assert read(head)[0][1] == connection


def test_an_upgrade_is_passed_over_without_losing_the_body() -> None:
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    data = b"POST /a HTTP/1.1\r\nHost: h\r\n" + wish + b"Content-Length: 5\r\n\r\nhello"
    (first, _), (second, _) = read(data + b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (first.path, first.body) == ("/a", b"hello")
    assert b"upgrade" not in first.headers
    assert second.path == "/b"
    chunked = b"POST /a HTTP/1.1\r\nHost: h\r\n" + wish + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert read(chunked)[0][0].body == b"hello"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"GET /a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.7\r\nHost: h\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: h\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551615\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"a" * 1001, 413),
        (b"POST / HTTP/1.1\r\nHost: h\r\nExpect: cake\r\nContent-Length: 1\r\n\r\n", 417),
        (b"GET /" + b"a" * 200 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"a" * 2000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"H%d: a\r\n" % i for i in range(11)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: a\r\n" * 12 + b"\r\n", 431),
    ],
)
def test_what_is_refused(data: bytes, status: int) -> None:
    found, message = refused(data)
    assert found == status
    assert message


def test_requests_before_a_refusal_are_kept() -> None:
    reader = RequestReader(OPTIONS)
    with pytest.raises(Refused):
        reader.feed(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\nnonsense\r\n\r\n")
    assert [r.path for r, _ in reader.ready] == ["/a"]


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nHost: h\r\nA: ", b"GET / HTTP/1.1\r\nHost: h\r\nA"])
def test_a_head_without_end_is_refused(start: bytes) -> None:
    status, _ = refused(start + b"a" * 100_000)
    assert status == (414 if start == b"GET /" else 431)


@pytest.mark.parametrize("endless", [b"5;" + b"x" * 100_000, b"0\r\n" + b"T: " + b"x" * 100_000])
def test_framing_without_data_is_refused(endless: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, message = refused(head + endless)
    assert status == 400
    assert "framing" in message


def test_a_large_head_within_the_bound_is_read() -> None:
    options = ListenerOptions(header_bytes=40_000)
    value = b"v" * 39_000
    ((request, _),) = read(b"GET / HTTP/1.1\r\nHost: h\r\nA: " + value + b"\r\n\r\n", options)
    assert request.headers[b"a"] == value


def test_waiting_for_100_continue() -> None:
    reader = RequestReader(OPTIONS)
    head = b"POST / HTTP/1.%d\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n"
    reader.feed(head % 1)
    assert reader.wants_continue
    reader.feed(b"a")
    assert not reader.wants_continue
    old = RequestReader(OPTIONS)
    old.feed(head % 0)
    assert not old.wants_continue


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", b""),
        (b"/a?b?c", "/a", b"b?c"),
        (b"/%C3%A4%20%2f?%20", "/ä /", b"%20"),
        (b"http://host:1/a?b", "/a", b"b"),
        (b"HTTP://host", "/", b""),
        (b"*", "*", b""),
    ],
)
def test_targets(target: bytes, path: str, query: bytes) -> None:
    assert split_target(target) == (path, query)


@pytest.mark.parametrize("target", [b"a", b"%2f", b"ftp://h/", b"/%ff", b"/%C3"])
def test_targets_that_are_none(target: bytes) -> None:
    with pytest.raises(InvalidRequest):
        split_target(target)


@settings(max_examples=300)
@given(st.binary(max_size=300), st.integers(0, len(HEAD) + 5), st.integers(0, 20))
def test_garbage_is_read_or_refused(garbage: bytes, at: int, cut: int) -> None:
    good = HEAD + b"hello"
    reader = RequestReader(OPTIONS)
    with suppress(Refused):
        reader.feed(good[:at] + garbage + good[at + cut :])
    for request, _ in reader.ready:
        assert request.path.startswith("/") or request.path == "*"
