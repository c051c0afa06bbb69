from __future__ import annotations

import json

from portside.errors import ErrorCode, PayloadTooLarge
from portside.protocol.base import TEXT, HttpReply
from portside.protocol.status import http_status
from portside.server.wire import Heads, internal_error, refusal


def test_heads_are_kept_until_the_date_changes() -> None:
    heads = Heads()
    heads.set_time(0)
    first = heads.head(200, TEXT)
    assert first == (
        b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        b"content-type: text/plain; charset=utf-8\r\ncontent-length: "
    )
    assert heads.head(200, TEXT) is first
    heads.set_time(86400)
    assert b"02 Jan 1970" in heads.head(200, TEXT)


def test_a_reply_with_everything() -> None:
    heads = Heads()
    heads.set_time(0)
    text = heads.render(HttpReply(503, b"abc", TEXT, ((b"retry-after", b"1"),)), b"close")
    assert text.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert text.endswith(b"content-length: 3\r\nretry-after: 1\r\nconnection: close\r\n\r\n")


def test_every_status_of_ours_has_words() -> None:
    heads = Heads()
    for code in ErrorCode:
        line = heads.head(http_status(code), TEXT).split(b"\r\n")[0].split(b" ", 2)
        assert line[2] not in {b"", b"Status"}


def test_refusals() -> None:
    reply = refusal(PayloadTooLarge("too much"), 431)
    assert (reply.status, json.loads(reply.body)) == (431, {"error": "too much"})
    assert refusal(PayloadTooLarge("too much")).status == 413
    assert internal_error().status == 500
