"""Thousands of malformed requests to the real application over real models: an answer that helps, and life goes on.

The protocol object is driven with bytes, so that a request costs microseconds and a hang cannot hide behind a socket.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import socket
import struct
import zlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from portside.protocol.base import Limits
from portside.server.background import ServerHandle
from portside.server.http import HttpConnection
from portside.server.listener import Listener
from portside.server.options import ListenerOptions

LIMITS = Limits(body_bytes=20_000, json_depth=20, elements=2_000, items=8, pixels=100_000)
RUNS = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
INFER = ("/v1/models/tiny:predict", "/v2/models/tiny/infer", "/v2/models/sums/infer", "/v1/models/sums:predict",
         "/predict/tiny", "/predict/colour", "/v1/models/colour:predict", "/v2/models/colour/infer")  # fmt: skip


class Wire(asyncio.Transport):
    """Collects what the server says."""

    def __init__(self) -> None:
        super().__init__()
        self.said = b""
        self.closed = False
        self.more = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "written after the end"
        self.said += bytes(data)
        self.more.set()

    def close(self) -> None:
        self.closed = True
        self.more.set()

    abort = close

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


def replies(said: bytes) -> Iterator[tuple[int, dict[str, str], bytes]]:
    while said:
        head, _, said = said.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("content-length", "0"))
        yield int(status.split()[1]), headers, said[:length]
        said = said[length:]


@pytest.fixture(scope="module")
def server(small_models: Any, stack: Any) -> Iterator[Any]:
    """The real application in a loop of its own: ``say(data)`` and ``ask(path, body, headers)``."""
    with asyncio.Runner() as runner:
        parts = stack(small_models, LIMITS)
        runner.run(parts.manager.start())
        options = ListenerOptions(body_bytes=LIMITS.body_bytes, target_bytes=2000, header_bytes=20_000)
        listener = Listener(parts.application.handle, parts.meter, options)

        async def begin() -> None:
            listener.start(asyncio.get_running_loop())

        runner.run(begin())

        async def talk(data: bytes, *, whole: bool) -> list[tuple[int, dict[str, str], bytes]]:
            wire, connection = Wire(), HttpConnection(listener)
            connection.connection_made(wire)
            connection.data_received(data)
            while connection._task is not None or (whole and not wire.said):
                wire.more.clear()
                await asyncio.wait_for(wire.more.wait(), 20)
            connection.connection_lost(None)
            return list(replies(wire.said))

        def say(data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
            return runner.run(talk(data, whole=False))

        def ask(path: str, body: bytes = b"", headers: dict[str, str] | None = None, method: str = "POST") -> Any:
            lines = "".join(f"{k}: {v}\r\n" for k, v in (headers or {}).items())
            head = f"{method} {path} HTTP/1.1\r\nHost: h\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode(
                "latin-1"
            )
            ((status, found, answer),) = runner.run(talk(head + body, whole=True))
            return SimpleNamespace(status=status, headers=found, body=answer)

        yield SimpleNamespace(say=say, ask=ask, parts=parts)
        listener.stop()
        runner.run(parts.manager.aclose())


def check_alive(server: Any) -> None:
    """A good request is still answered rightly."""
    answer = server.ask("/v1/models/half_plus_two/versions/1:predict", b'{"instances": [1.0, 2.0, 5.0]}')
    assert (answer.status, json.loads(answer.body)) == (200, {"predictions": [2.5, 3.0, 4.5]})


def check_refusal(path: str, answer: Any) -> None:
    """The protocol's own error shape, with a sentence, and nothing of ours in it."""
    assert 400 <= answer.status < 500 or answer.status in {501, 503}, (answer.status, answer.body)
    document = json.loads(answer.body)
    assert set(document) == ({"error", "code"} if path.startswith("/predict") else {"error"})
    assert len(document["error"]) > 10
    for leak in ("Traceback", "/site-packages", 'File "', "/src/", ".onnx", "onnxruntime"):
        assert leak not in document["error"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6)
    | st.sampled_from(["x", "a", "FP32", "INT64", "BYTES", "NaN"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["x", "a", "b", "b64", "name", "shape", "datatype", "data", "inputs", "outputs", "instances",
                         "parameters", "id", "signature_name", "binary_data_size", "pixels", "image", "top_k"])
        | st.text(max_size=3),
        inner, max_size=4,
    ),
    max_leaves=14,
)  # fmt: skip
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "a", "b", "pixels", "y"]) | json_values,
        "shape": st.lists(st.integers(-2, 5) | st.just(2**40), max_size=4) | json_values,
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES", "UINT8", "FP16", "BF16", "BOOL"]) | json_values,
        "data": st.lists(st.floats(width=32) | st.integers(), max_size=9) | json_values,
        "parameters": json_values,
    },
)
documents = st.one_of(
    json_values,
    st.fixed_dictionaries({"instances": json_values}),
    st.fixed_dictionaries({"inputs": json_values}),
    st.fixed_dictionaries({"instances": st.lists(st.lists(st.floats(width=32) | st.text(max_size=2), max_size=5))}),
    st.fixed_dictionaries({"inputs": st.lists(tensors, max_size=3)}, optional={"outputs": json_values}),
)


@RUNS
@given(st.sampled_from(INFER), documents)
@example("/v1/models/tiny:predict", {"instances": [[1, 2, 3]]})
@example("/v1/models/tiny:predict", {"instances": [[10**400] * 4]})
@example("/v2/models/tiny/infer", {"inputs": [{"name": "x", "shape": [2**62, 4], "datatype": "FP32", "data": [1]}]})
@example("/v1/models/colour:predict", {"instances": [{"b64": "AAAA"}]})
@example("/predict/colour", {"image": "AAAA"})
def test_json_documents_of_any_kind(server: Any, path: str, document: Any) -> None:
    answer = server.ask(path, json.dumps(document).encode("utf-8", "replace"), {"Content-Type": "application/json"})
    if answer.status != 200:
        check_refusal(path, answer)


@RUNS
@given(st.sampled_from(INFER), st.binary(max_size=200), st.sampled_from(
    ["application/json", "image/jpeg", "application/octet-stream", "multipart/form-data; boundary=b", "text/plain", "x",
     "multipart/form-data", ""]))  # fmt: skip
def test_bodies_of_any_bytes(server: Any, path: str, body: bytes, kind: str) -> None:
    answer = server.ask(path, body, {"Content-Type": kind})
    check_refusal(path, answer)


GOOD = {
    "/v1/models/tiny:predict": b'{"signature_name": "serving_default", "instances": [[1.5, 2, 3, -4e-1]]}',
    "/v1/models/sums:predict": b'{"inputs": {"a": [[1, 2]], "b": [[3, 4]]}}',
    "/v2/models/tiny/infer": b'{"id": "1", "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", '
    b'"data": [1, 2, 3, 4]}], "outputs": [{"name": "y", "parameters": {"binary_data": true}}]}',
    "/predict/tiny": b'{"x": [[1, 2, 3, 4]]}',
}


@RUNS
@given(st.sampled_from(sorted(GOOD)), st.integers(0, 160), st.integers(0, 8), st.binary(max_size=5))
def test_good_documents_with_a_wound(server: Any, path: str, at: int, cut: int, graft: bytes) -> None:
    good = GOOD[path]
    answer = server.ask(path, good[:at] + graft + good[at + cut :], {"Content-Type": "application/json"})
    if answer.status != 200:
        check_refusal(path, answer)


@pytest.mark.parametrize("path", sorted(GOOD))
def test_good_documents(server: Any, path: str) -> None:
    assert server.ask(path, GOOD[path]).status == 200


@RUNS
@given(st.data())
def test_binary_tensors_with_sizes_that_lie(server: Any, data: st.DataObject) -> None:
    size = data.draw(st.integers(-5, 100) | st.just(16))
    shape = data.draw(st.lists(st.integers(-1, 9), max_size=3) | st.just([1, 4]))
    datatype = data.draw(st.sampled_from(["FP32", "INT64", "BYTES", "BOOL", "FP64", "what"]))
    entry = {"name": "x", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [entry]}).encode()
    length = data.draw(st.sampled_from([len(head), 0, 1, len(head) - 1, len(head) + 1, 10**9, -1, "x", ""]))
    tail = data.draw(st.binary(max_size=40) | st.just(struct.pack("<4f", 1, 2, 3, 4)))
    path = data.draw(st.sampled_from(["/v2/models/tiny/infer", "/v2/models/colour/infer"]))
    answer = server.ask(path, head + tail, {"Inference-Header-Content-Length": str(length)})
    if answer.status != 200:
        check_refusal(path, answer)


@RUNS
@given(st.text(st.characters(max_codepoint=0x2FF, exclude_categories=["Cs"]), max_size=40),
       st.sampled_from(["/v1/models/", "/v2/models/", "/predict/", "/v1/", "/v2/", "/", "/api/"]),
       st.sampled_from(["", ":predict", "/infer", "/versions/1:predict", "/versions/9/ready", "/labels/x:predict",
                        "/metadata", "/versions/99999999999999999999999"]),
       st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]))  # fmt: skip
def test_addresses_of_any_kind(server: Any, name: str, before: str, after: str, method: str) -> None:
    from urllib.parse import quote

    path = before + quote(name, safe="/:.-_~!$&'()*+,;=@") + after
    answer = server.ask(path, b"{}" if method == "POST" else b"", method=method)
    assert answer.status in {200, 400, 404, 405, 501, 415}, (path, answer.status)
    if answer.status != 200 and method != "HEAD":
        assert "error" in json.loads(answer.body)


@pytest.mark.parametrize(
    "name", ["..", "../..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "a%00b", "/etc/passwd", "~root", "C:%5Cwindows", "%ff"]
)
@pytest.mark.parametrize("address", ["/v1/models/{}:predict", "/v2/models/{}/infer", "/predict/{}", "/v2/models/{}"])
def test_a_path_for_a_name(server: Any, name: str, address: str) -> None:
    path = address.format(name)
    answer = server.ask(path, b"{}", method="GET" if path.startswith("/v2") and "infer" not in path else "POST")
    assert answer.status in {400, 404, 405}
    assert "root" not in json.loads(answer.body)["error"].replace("~root", "")


request_line = st.sampled_from(
    [b"GET / HTTP/1.1\r\n", b"POST /v1/models/tiny:predict HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n"]
)
header = st.sampled_from(
    [b"Host: h\r\n", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n",
     b"Content-Encoding: gzip\r\n", b"Content-Encoding: br\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\n",
     b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"Expect: x\r\n", b"X: \xff\xfe\r\n", b" folded\r\n", b":\r\n",
     b"Content-Length: 1e3\r\n", b"Inference-Header-Content-Length: 2\r\n"]
)  # fmt: skip


odds = st.sampled_from([b"\r\n", b"{}", b"0\r\n\r\n", b"3\r\nabc\r\n"])
pieces_of_http = st.lists(st.one_of(request_line, header, header, odds, st.binary(max_size=12)), max_size=14)


@settings(RUNS, max_examples=1500)
@given(pieces_of_http, st.binary(max_size=3))
def test_http_of_any_kind(server: Any, pieces: list[bytes], tail: bytes) -> None:
    for status, headers, body in server.say(b"".join(pieces) + tail):
        assert status in {100, 200} or 400 <= status < 500 or status == 501, (status, body)
        if status >= 400 and body:
            assert "error" in json.loads(body)
            assert headers["content-type"] == "application/json"


def test_all_of_that_was_survived(server: Any) -> None:
    check_alive(server)
    metrics = server.ask("/metrics", method="GET").body.decode()
    assert 'code="INTERNAL"' not in metrics
    assert "portside_inflight_requests 0.0" in metrics


def test_bombs_and_other_encodings(server: Any) -> None:
    good = b'{"instances": [[1, 2, 3, 4]]}'
    path = "/v1/models/tiny:predict"
    raw = zlib.compressobj(wbits=-15)
    for encoding, body in (("gzip", gzip.compress(good)), ("deflate", zlib.compress(good)),
                           ("deflate", raw.compress(good) + raw.flush()), ("x-gzip", gzip.compress(good)),
                           ("identity", good), ("gzip", gzip.compress(good[:9]) + gzip.compress(good[9:])),
                           ):  # fmt: skip
        assert server.ask(path, body, {"Content-Encoding": encoding}).status == 200, encoding
    bomb = gzip.compress(b" " * 10_000_000)
    assert len(bomb) < LIMITS.body_bytes
    for encoding, body, status in (("gzip", bomb, 413), ("gzip", good, 400), ("gzip", gzip.compress(good)[:-9], 400),
                                   ("br", good, 415), ("gzip, gzip", good, 415), ("deflate", b"", 400)):  # fmt: skip
        answer = server.ask(path, body, {"Content-Encoding": encoding})
        assert answer.status == status, (encoding, answer.body)
        check_refusal(path, answer)


def picture(kind: str = "JPEG", size: tuple[int, int] = (32, 24), colour: str = "lime") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


def test_pictures_good_and_bad(server: Any) -> None:
    good = picture()
    answer = server.ask("/predict/colour", good, {"Content-Type": "image/jpeg"})
    assert json.loads(answer.body)["predictions"][0]["classes"][0]["label"] == "green"
    huge = picture("PNG", (1000, 1000))
    encoded = base64.b64encode(good).decode()
    assert server.ask("/v1/models/colour:predict", json.dumps({"instances": [{"b64": encoded}]}).encode()).status == 200
    for body in (good[: len(good) // 3], b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, huge, b"not a picture"):
        answer = server.ask("/predict/colour", body, {"Content-Type": "image/jpeg"})
        check_refusal("/predict/colour", answer)
    many = json.dumps({"image": encoded}).encode()
    assert server.ask("/predict/colour", many, {"Content-Type": "application/json"}).status in {200, 400}
    check_alive(server)


def test_more_than_is_allowed(server: Any) -> None:
    deep = b'{"instances": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    many = json.dumps({"instances": [[0.5] * 4] * 600}).encode()
    for path, body, statuses in (
        ("/v1/models/tiny:predict", deep, {400, 413}),
        ("/v1/models/tiny:predict", many, {413}),
        ("/v2/models/tiny/infer", b"x" * (LIMITS.body_bytes + 1), {413}),
        ("/predict/tiny", b'{"x": ' + b"9" * 10_000 + b"}", {400}),
    ):
        answer = server.ask(path, body)
        assert answer.status in statuses, (path, answer.status, answer.body[:200])
    check_alive(server)


def test_a_live_server_after_raw_garbage(live: ServerHandle) -> None:
    address = urlsplit(live.url)
    for data in (
        b"\0" * 5000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\r\n" * 3000 + b"x",
    ):
        with socket.create_connection((address.hostname, address.port), timeout=20) as peer:
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
            said = b""
            while piece := peer.recv(65536):
                said += piece
        assert said.startswith(b"HTTP/1.1 400 ")
    with socket.create_connection((address.hostname, address.port), timeout=20) as peer:
        peer.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert peer.recv(65536).startswith(b"HTTP/1.1 200 OK")
