from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from portside.protocol.base import TEXT, HttpReply, HttpRequest
from portside.server.http import HttpConnection

GET = b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n"


def post(path: bytes, body: bytes, *headers: bytes) -> bytes:
    more = b"".join(h + b"\r\n" for h in headers)
    return b"POST /%b HTTP/1.1\r\nHost: h\r\n%bContent-Length: %d\r\n\r\n%b" % (path, more, len(body), body)


def replies(data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Splits what a connection wrote into replies."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("content-length", "0"))
        found.append((int(status.split()[1]), headers, data[:length]))
        data = data[length:]
    return found


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_answer_without_waiting_is_written_at_once(start: Any) -> None:
    peer = start().connect()
    peer.send(post(b"a", b"hello"))
    assert replies(peer.take()) == [
        (200, {"date": "Thu, 01 Jan 1970 00:00:00 GMT", "content-type": TEXT.decode(), "content-length": "5"}, b"hello")
    ]
    peer.send(GET % b"b")
    assert replies(peer.take())[0][2] == b"/b"
    assert not peer.transport.closed


async def test_a_waiting_request_becomes_a_task_and_is_counted(start: Any, desk: Any) -> None:
    server = start()
    peer = server.connect()
    peer.send(GET % b"wait")
    assert peer.take() == b""
    assert b"portside_inflight_requests 1.0" in server.meter.scrape()
    await turn()
    desk.gates["/wait"].set_result(HttpReply(200, b"late", TEXT))
    await turn()
    assert replies(peer.take())[0][2] == b"late"
    assert b"portside_inflight_requests 0.0" in server.meter.scrape()


async def test_pipelined_requests_are_answered_in_order(start: Any, desk: Any) -> None:
    peer = start().connect()
    peer.send(GET % b"first" + GET % b"wait/1" + GET % b"third" + GET % b"wait/2" + GET % b"fifth")
    assert [body for _, _, body in replies(peer.take())] == [b"/first"]
    assert [r.path for r in desk.seen] == ["/first", "/wait/1"]
    desk.gates["/wait/1"].set_result(HttpReply(200, b"second", TEXT))
    await turn()
    assert [body for _, _, body in replies(peer.take())] == [b"second", b"/third"]
    desk.gates["/wait/2"].set_result(HttpReply(200, b"fourth", TEXT))
    await turn()
    assert [body for _, _, body in replies(peer.take())] == [b"fourth", b"/fifth"]


async def test_too_many_pipelined_requests_leave_the_socket_alone(start: Any, desk: Any) -> None:
    peer = start(pipeline=4).connect()
    peer.send(GET % b"wait" + GET % b"x" * 2)
    assert not peer.transport.reading_paused
    peer.send(GET % b"x" * 2)
    assert peer.transport.reading_paused
    desk.gates["/wait"].set_result(HttpReply(200))
    await turn()
    assert len(replies(peer.take())) == 5
    assert not peer.transport.reading_paused


async def test_a_flood_in_one_piece_is_read_in_slices(start: Any, desk: Any) -> None:
    peer = start(pipeline=4).connect()
    flood = GET % b"wait" + GET % b"x" * 3000
    peer.send(flood)
    assert peer.transport.reading_paused
    assert len(peer.protocol._ready) < 800, "only a slice of it may have been made into requests"
    desk.gates["/wait"].set_result(HttpReply(200))
    await turn()
    assert len(replies(peer.take())) == 3001
    assert not peer.transport.reading_paused


async def test_a_body_in_many_pieces(start: Any) -> None:
    peer = start().connect()
    body = bytes(range(256)) * 400
    data = post(b"a", body)
    peer.send(data[:70])
    peer.send(data[70:50_000])
    peer.send(data[50_000:])
    assert replies(peer.take())[0][2] == body


async def test_head_has_no_body(start: Any) -> None:
    peer = start().connect()
    peer.send(b"HEAD /abc HTTP/1.1\r\nHost: h\r\n\r\n")
    assert peer.take().endswith(b"content-length: 4\r\n\r\n")


async def test_connection_close_and_http_1_0(start: Any) -> None:
    peer = start().connect()
    peer.send(b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert replies(peer.take())[0][1]["connection"] == "close"
    assert peer.transport.closed
    old = start().connect()
    old.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert replies(old.take())[0][1]["connection"] == "keep-alive"
    assert not old.transport.closed


async def test_further_headers_and_a_value_that_cannot_break_out(start: Any) -> None:
    async def handle(request: HttpRequest) -> HttpReply:
        return HttpReply(418, b"", TEXT, ((b"x-a", b"1\r\nx-evil: 2"),))

    peer = start(handle).connect()
    peer.send(GET % b"a")
    ((status, headers, _),) = replies(peer.take())
    assert status == 418
    assert headers["x-a"] == "1  x-evil: 2"
    assert "x-evil" not in headers


async def test_large_answers_are_not_copied_behind_their_head(start: Any, desk: Any) -> None:
    desk.big = 1_000_000
    peer = start().connect()
    peer.send(GET % b"big")
    assert len(replies(peer.take())[0][2]) == 1_000_000


async def test_100_continue(start: Any, desk: Any) -> None:
    peer = start().connect()
    peer.send(post(b"a", b"", b"Expect: 100-continue").replace(b"Length: 0", b"Length: 5"))
    assert peer.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.send(b"hello")
    assert replies(peer.take())[0][2] == b"hello"


async def test_100_continue_waits_for_the_answer_before(start: Any, desk: Any) -> None:
    peer = start().connect()
    peer.send(GET % b"wait" + b"POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert peer.take() == b""
    desk.gates["/wait"].set_result(HttpReply(200, b"one", TEXT))
    await turn()
    assert peer.take().endswith(b"one" + b"HTTP/1.1 100 Continue\r\n\r\n")
    peer.send(b"ok")
    assert replies(peer.take())[0][2] == b"ok"


async def test_a_refusal_is_answered_then_listened_out(start: Any) -> None:
    server = start(body_bytes=10, linger_s=2.0)
    peer = server.connect()
    peer.send(post(b"a", b"x" * 11)[:-11])
    ((status, headers, body),) = replies(peer.take())
    assert status == 413
    assert headers["connection"] == "close"
    assert "at most 10" in json.loads(body)["error"]
    assert peer.transport.said_eof
    assert not peer.transport.closed
    peer.send(b"x" * 11)
    peer.send(GET % b"a")
    assert peer.take() == b""
    server.at(1)
    server.at(2)
    assert not peer.transport.closed
    server.at(3.5)
    assert peer.transport.aborted
    assert b'portside_request_failures_total{code="PAYLOAD_TOO_LARGE",protocol="http"} 1.0' in server.meter.scrape()


async def test_what_came_before_a_refusal_is_answered_first(start: Any, desk: Any) -> None:
    peer = start().connect()
    peer.send(GET % b"wait" + GET % b"b" + b"nonsense\r\n\r\n")
    assert peer.take() == b""
    desk.gates["/wait"].set_result(HttpReply(200, b"a", TEXT))
    await turn()
    assert [(s, b[:2]) for s, _, b in replies(peer.take())] == [(200, b"a"), (200, b"/b"), (400, b'{"')]
    assert peer.transport.said_eof


async def test_nothing_is_said_after_an_answer_that_ends_the_connection(start: Any) -> None:
    peer = start().connect()
    peer.send(b"GET /a HTTP/1.0\r\n\r\n" + GET % b"b")
    assert [body for _, _, body in replies(peer.take())] == [b"/a"]
    assert peer.transport.closed


async def test_a_client_that_leaves_cancels_its_request(start: Any, desk: Any) -> None:
    server = start()
    peer = server.connect()
    peer.send(GET % b"wait" + GET % b"never")
    await turn()
    assert peer.protocol.eof_received() is None
    peer.transport.close()
    await turn()
    assert desk.cancelled == ["/wait"]
    assert [r.path for r in desk.seen] == ["/wait"]
    assert not server.listener.connections
    assert b"portside_inflight_requests 0.0" in server.meter.scrape()


async def test_a_broken_handler_is_answered_for(start: Any, desk: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def later(request: HttpRequest) -> HttpReply:
        await asyncio.sleep(0)
        raise RuntimeError("a bug")

    for handle, path in ((desk.handle, b"boom"), (later, b"x")):
        with caplog.at_level(logging.ERROR, "portside.server"):
            peer = start(handle).connect()
            peer.send(GET % path)
            await turn()
        ((status, _, body),) = replies(peer.take())
        assert status == 500
        assert b"a bug" not in body
        assert "a bug" in caplog.text
        caplog.clear()


async def test_too_many_connections(start: Any) -> None:
    server = start(connections=4)
    kept = [server.connect() for _ in range(4)]
    surplus = server.connect()
    assert replies(surplus.take())[0][0] == 503
    assert surplus.transport.said_eof
    assert server.connect().transport.aborted
    kept[0].transport.close()
    surplus.transport.close()
    again = server.connect()
    again.send(GET % b"a")
    assert replies(again.take())[0][0] == 200


async def test_a_peer_that_does_not_read_is_waited_for_then_cut(start: Any, desk: Any) -> None:
    server = start(stall_s=30.0)
    peer = server.connect()
    peer.transport.buffered = 100
    peer.protocol.pause_writing()
    peer.send(GET % b"a")
    assert desk.seen == []
    server.at(20)
    peer.transport.buffered = 50
    server.at(40)
    server.at(69)
    assert not peer.transport.closed
    server.at(71)
    assert peer.transport.aborted


async def test_a_peer_that_reads_again_gets_the_rest(start: Any, desk: Any) -> None:
    peer = start().connect()
    peer.protocol.pause_writing()
    peer.send(GET % b"a" + GET % b"b")
    assert peer.take() == b""
    peer.protocol.resume_writing()
    assert [body for _, _, body in replies(peer.take())] == [b"/a", b"/b"]


async def test_an_ended_connection_whose_last_bytes_are_not_taken_is_cut(start: Any) -> None:
    server = start(stall_s=30.0)
    peer = server.connect()
    peer.transport.buffered = 10
    peer.send(b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert peer.transport.closed
    server.at(1)
    server.at(29)
    assert not peer.transport.aborted
    server.at(32)
    assert peer.transport.aborted


async def test_slow_peers(start: Any, desk: Any) -> None:
    server = start(keepalive_s=75.0, head_s=15.0, stall_s=30.0, grace_s=15.0, rate_bytes_s=100.0)
    silent, head, idle, stuck, drip, busy = (server.connect() for _ in range(6))
    head.send(b"GET / HT")
    idle.send(GET % b"a")
    stuck.send(post(b"a", b"x" * 100_000)[:90_000])
    busy.send(GET % b"wait")
    drip.send(post(b"a", b"x" * 100_000)[:100])
    for second in range(0, 100, 5):
        server.at(second)
        if not drip.transport.closed:
            drip.send(b"x" * 10)
        idle.take() if second == 0 else None
    assert silent.transport.closed
    assert not silent.take()
    assert replies(head.take())[0][0] == 408
    assert replies(stuck.take())[0][0] == 408
    assert replies(drip.take())[0][0] == 408
    assert idle.transport.closed
    assert not idle.take()
    assert not busy.transport.closed
    assert b'code="DEADLINE_EXCEEDED",protocol="http"} 3.0' in server.meter.scrape()


async def test_draining(start: Any, desk: Any) -> None:
    server = start()
    idle, reading, waiting = (server.connect() for _ in range(3))
    idle.send(GET % b"a")
    idle.take()
    reading.send(post(b"b", b"hello")[:-2])
    waiting.send(GET % b"wait")
    draining = asyncio.ensure_future(server.listener.drain(5.0))
    await turn()
    assert idle.transport.closed
    assert not reading.transport.closed
    assert replies(server.connect().take())[0][0] == 503
    reading.send(b"lo")
    ((status, headers, body),) = replies(reading.take())
    assert (status, headers["connection"], body) == (200, "close", b"hello")
    assert reading.transport.closed
    desk.gates["/wait"].set_result(HttpReply(200, b"done", TEXT))
    await turn()
    assert replies(waiting.take())[0][1]["connection"] == "close"
    server.at(1)
    server.at(10)
    assert await draining == 0


async def test_draining_has_an_end(start: Any, desk: Any) -> None:
    server = start()
    peer = server.connect()
    peer.send(GET % b"wait")
    assert await server.listener.drain(0.01) == 1
    assert peer.transport.aborted
    await turn()
    assert desk.cancelled == ["/wait"]


async def test_one_bad_connection_does_not_stop_the_clock(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = start(head_s=1.0)
    bad, silent = server.connect(), server.connect()

    def broken() -> int:
        raise RuntimeError("odd transport")

    bad.transport.get_write_buffer_size = broken
    server.at(0)
    server.at(2)
    assert bad.transport.aborted
    assert silent.transport.closed
    assert "odd transport" in caplog.text


async def test_a_real_socket(start: Any) -> None:
    server = start()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: HttpConnection(server.listener), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(b"a", b"hello") + GET % b"b")
    first = await asyncio.wait_for(reader.readuntil(b"hello"), 10)
    second = await asyncio.wait_for(reader.readuntil(b"/b"), 10)
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
    await writer.wait_closed()
    listening.close()
