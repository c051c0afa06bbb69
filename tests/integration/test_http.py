"""The whole application over real models: by ASGI, on a real port, and through its life."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from portside.errors import InvalidSettings, Unavailable
from portside.protocol.base import HttpReply, HttpRequest
from portside.server.asgi import asgi_app
from portside.server.background import ServerHandle, serve_in_thread
from portside.server.options import ListenerOptions, ServerOptions
from portside.server.run import Stop, serve

HALF = "/v1/models/half_plus_two/versions/1:predict"


@pytest.fixture
async def app(small_models: Any, stack: Any) -> AsyncIterator[Any]:
    parts = stack(small_models)
    await parts.manager.start()
    yield parts
    await parts.manager.aclose()


def request(method: str, path: str, body: bytes = b"", **headers: str) -> HttpRequest:
    fields = {k.replace("_", "-").encode(): v.encode() for k, v in headers.items()}
    return HttpRequest(method, path, b"", fields, body)


async def ask(app: Any, method: str, path: str, body: bytes = b"", **headers: str) -> HttpReply:
    reply: HttpReply = await app.application.handle(request(method, path, body, **headers))
    return reply


async def test_three_protocols_answer_alike(app: Any) -> None:
    tfs = await ask(app, "POST", HALF, b'{"instances": [1.0, 2.0]}')
    oip = await ask(
        app, "POST", "/v2/models/half_plus_two/versions/stable/infer",
        b'{"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]}]}',
    )  # fmt: skip
    plain = await ask(app, "POST", "/predict/half_plus_two:stable", b'{"x": [1.0, 2.0]}')
    assert json.loads(tfs.body)["predictions"] == [2.5, 3.0]
    assert json.loads(oip.body)["outputs"][0]["data"] == [2.5, 3.0]
    assert json.loads(plain.body) == {"model": "half_plus_two", "version": 1, "outputs": {"y": [2.5, 3.0]}}


async def test_each_protocol_refuses_in_its_own_shape(app: Any) -> None:
    for path, keys in (
        ("/v1/models/nobody:predict", {"error"}),
        ("/v2/models/nobody/infer", {"error"}),
        ("/predict/nobody", {"error", "code"}),
        ("/nowhere", {"error"}),
    ):
        reply = await ask(app, "POST", path, b"{}")
        assert reply.status == 404, path
        assert set(json.loads(reply.body)) == keys
    assert (await ask(app, "DELETE", "/v2/models/tiny")).status == 405
    assert (await ask(app, "GET", "/predict/tiny")).status == 405
    wrong = await ask(app, "POST", "/metrics")
    assert (wrong.status, dict(wrong.headers)[b"allow"]) == (405, b"GET, HEAD")
    for odd in ("*", "", "/", "//", "v1", "/V1"):
        assert (await ask(app, "OPTIONS", odd)).status in {400, 404, 405}, odd


async def test_failures_are_counted_once(app: Any) -> None:
    await ask(app, "POST", "/v1/models/nobody:predict", b"{}")
    await ask(app, "POST", "/v1/models/tiny:predict", b"not json")
    await ask(app, "POST", "/v1/models/tiny:predict", b'{"instances": [[1, 2]]}')
    await ask(app, "POST", "/v1/models/tiny:predict", b'{"instances": [[1, 2, 3, 4]]}')
    await ask(app, "GET", "/v1/nonsense")
    text = (await ask(app, "GET", "/metrics")).body.decode()
    counted = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}
    assert counted['portside_request_failures_total{code="NOT_FOUND",protocol="tfs-rest"}'] == 1
    assert counted['portside_request_failures_total{code="INVALID_ARGUMENT",protocol="tfs-rest"}'] == 2
    one = 'model="tiny",protocol="tfs-rest",version="1"}'
    assert counted['portside_requests_total{code="INVALID_ARGUMENT",' + one] == 1
    assert counted['portside_requests_total{code="OK",' + one] == 1


async def test_health_and_its_loss(app: Any) -> None:
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready"):
        assert (await ask(app, "GET", path)).status == 200, path
    app.application.begin_drain()
    for path, status in (("/healthz", 200), ("/readyz", 503), ("/v2/health/live", 200), ("/v2/health/ready", 503)):
        assert (await ask(app, "GET", path)).status == status, path
    assert (await ask(app, "POST", HALF, b'{"instances": [1.0]}')).status == 200, "draining still answers"


async def test_server_metadata_and_pages(app: Any) -> None:
    assert json.loads((await ask(app, "GET", "/v2")).body)["name"] == "portside"
    page = await ask(app, "GET", "/")
    assert page.content_type.startswith(b"text/html")
    assert (await ask(app, "HEAD", "/")).status == 200


async def test_the_list_of_models(app: Any) -> None:
    document = json.loads((await ask(app, "GET", "/api/models")).body)
    assert document["ready"] is True
    models = {m["name"]: m["versions"] for m in document["models"]}
    assert list(models) == ["colour", "half_plus_two", "sums", "tiny"]
    newest, oldest = models["half_plus_two"]
    assert (newest["version"], newest["current"], newest["aliases"]) == (2, True, [])
    assert (oldest["version"], oldest["current"], oldest["aliases"]) == (1, False, ["stable"])
    assert (newest["kind"], newest["verdict"], newest["forced"]) == ("tensors", "pass", False)
    assert newest["engine"] == {"engine": "onnxruntime", "precision": "fp32", "threads": 1, "instances": 1}
    assert newest["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch"]}]
    assert (models["colour"][0]["kind"], models["colour"][0]["labels"]) == ("image", 6)


async def test_a_bug_is_told_by_number_only(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> bytes:
        raise RuntimeError("secret /path")

    app.meter.scrape = broken
    reply = await ask(app, "GET", "/metrics")
    assert reply.status == 500
    assert b"secret" not in reply.body
    request_id = json.loads(reply.body)["error"].split("quote ")[1].split()[0]
    record = next(r for r in caplog.records if getattr(r, "request_id", "") == request_id)
    assert record.exc_info is not None
    assert "secret" in str(record.exc_info[1])


async def test_addresses_are_remembered_up_to_a_bound(app: Any) -> None:
    for i in range(3000):
        await ask(app, "POST", f"/v1/models/m{i}:predict", b"{}")
    assert len(app.application._known) <= 1024
    assert (await ask(app, "POST", HALF, b'{"instances": [1.0]}')).status == 200


async def test_the_access_log(small_models: Any, stack: Any, caplog: pytest.LogCaptureFixture) -> None:
    parts = stack(small_models, access_log=True)
    caplog.set_level("INFO", "portside.access")
    await parts.application.handle(request("GET", "/healthz"))
    (record,) = [r for r in caplog.records if r.name == "portside.access"]
    assert record.getMessage() == "GET /healthz 200"
    assert record.took_ms >= 0


async def test_a_request_cannot_write_lines_into_the_log(
    small_models: Any, stack: Any, caplog: pytest.LogCaptureFixture
) -> None:
    parts = stack(small_models, access_log=True)
    caplog.set_level("INFO", "portside.access")
    await parts.application.handle(request("GET", "/a\n12:00:00.000 INFO forged\x1b[31m"))
    (record,) = [r for r in caplog.records if r.name == "portside.access"]
    assert record.getMessage() == "GET /a?12:00:00.000 INFO forged?[31m 404"


# -- ASGI ------------------------------------------------------------------------------------------------------------


async def test_asgi(app: Any) -> None:
    transport = httpx.ASGITransport(asgi_app(app.application))
    async with httpx.AsyncClient(transport=transport, base_url="http://h") as client:
        reply = await client.post(HALF, json={"instances": [1.0, 2.0, 5.0]})
        assert reply.json() == {"predictions": [2.5, 3.0, 4.5]}
        assert (await client.get("/v2/health/ready")).status_code == 200
        assert (await client.head("/")).text == ""
        assert (await client.get("/predict/%2e%2e")).status_code in {400, 404, 405}
        refused = await client.post("/predict/colour", content=b"nonsense", headers={"content-type": "image/png"})
        assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_ARGUMENT")


async def test_asgi_bounds_a_body(small_models: Any, stack: Any) -> None:
    from portside.protocol.base import Limits

    parts = stack(small_models, Limits(body_bytes=100))
    transport = httpx.ASGITransport(asgi_app(parts.application))

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 30

    async with httpx.AsyncClient(transport=transport, base_url="http://h") as client:
        assert (await client.post(HALF, content=b"x" * 101)).status_code == 413
        assert (await client.post(HALF, content=pieces())).status_code == 413


async def test_asgi_lifespan(small_models: Any, stack: Any) -> None:
    parts = stack(small_models)
    said: list[Any] = []
    events = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        return {"type": next(events)}

    async def send(message: Any) -> None:
        said.append(message["type"])
        if len(said) == 1:
            assert parts.application.is_ready()

    await asgi_app(parts.application, parts.manager.start, parts.manager.aclose)({"type": "lifespan"}, receive, send)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert not parts.application.is_ready()


async def test_asgi_lifespan_that_fails(small_models: Any, stack: Any) -> None:
    async def fail() -> None:
        raise InvalidSettings("no such thing")

    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        said.append(message)

    await asgi_app(stack(small_models).application, fail)({"type": "lifespan"}, receive, send)
    assert said == [{"type": "lifespan.startup.failed", "message": "no such thing"}]


async def test_asgi_client_that_leaves_cancels(small_models: Any, stack: Any) -> None:
    parts = stack(small_models)
    began, ended = asyncio.Event(), asyncio.Event()

    async def slow(given: HttpRequest) -> HttpReply:
        began.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()
        return HttpReply(200)

    parts.application.handle = slow
    messages: asyncio.Queue[Any] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": b"{}", "more_body": False})

    async def send(message: Any) -> None:
        raise AssertionError("nobody is there to be told")

    scope = {"type": "http", "method": "POST", "path": HALF, "headers": [], "query_string": b""}
    running = asyncio.ensure_future(asgi_app(parts.application)(scope, messages.get, send))
    await asyncio.wait_for(began.wait(), 10)
    messages.put_nowait({"type": "http.disconnect"})
    await asyncio.wait_for(running, 10)
    assert ended.is_set()
    assert b"portside_inflight_requests 0.0" in parts.meter.scrape()


def test_uvicorn_on_a_real_port(small_models: Any, stack: Any) -> None:
    import uvicorn

    parts = stack(small_models)
    app = asgi_app(parts.application, parts.manager.start, parts.manager.aclose)
    config = uvicorn.Config(app, port=0, log_level="error", lifespan="on", ws="none", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        with httpx.Client(timeout=30) as client:
            assert client.post(url + HALF, json={"instances": [1.0]}).json() == {"predictions": [2.5]}
            assert client.get(url + "/readyz").status_code == 200
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
    assert not thread.is_alive()


# -- a server's life -------------------------------------------------------------------------------------------------


def test_keep_alive_and_several_clients(live: ServerHandle) -> None:
    with httpx.Client(base_url=live.url) as client:
        for i in range(50):
            assert client.post(HALF, json={"instances": [float(i)]}).json() == {"predictions": [i / 2 + 2]}
        body = {"instances": [1.0] * 100_000}
        assert len(client.post(HALF, json=body).json()["predictions"]) == 100_000


def test_a_handle_stops_once_and_frees_its_port(small_models: Any, stack: Any) -> None:
    handle = stack(small_models).serve()
    assert httpx.get(handle.url + "/readyz").status_code == 200
    handle.stop()
    handle.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(handle.url + "/readyz")


def test_a_port_in_use_is_said(small_models: Any, stack: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        parts = stack(small_models)
        with pytest.raises(InvalidSettings, match="is in use"):
            serve_in_thread(parts.application, parts.manager, ServerOptions(port=port))


def test_a_server_that_is_not_ready_in_time(small_models: Any, stack: Any) -> None:
    parts = stack(small_models)

    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    parts.manager.start = forever
    before = set(threading.enumerate())
    with pytest.raises(Unavailable, match="not ready within"):
        serve_in_thread(parts.application, parts.manager, ServerOptions(port=0), timeout_s=0.2)
    threads = [t for t in threading.enumerate() if t not in before]
    for thread in threads:
        thread.join(30)
    assert not any(t.is_alive() for t in threads)


async def test_stopping_lets_requests_in_flight_finish(small_models: Any, stack: Any) -> None:
    parts = stack(small_models)
    order: list[str] = []
    gate, inside = asyncio.Event(), asyncio.Event()
    handle, aclose = parts.application.handle, parts.manager.aclose

    async def slow(given: HttpRequest) -> HttpReply:
        if given.path != "/slow":
            reply: HttpReply = await handle(given)
            return reply
        inside.set()
        await gate.wait()
        order.append("answered")
        return HttpReply(200, b"done")

    async def closing() -> None:
        order.append("models away")
        await aclose()

    parts.application.handle, parts.manager.aclose = slow, closing
    stop, ready = Stop(), asyncio.get_running_loop().create_future()
    options = ServerOptions(port=0, drain_s=20)
    running = asyncio.ensure_future(serve(parts.application, parts.manager, options, ready.set_result, stop))
    url = await asyncio.wait_for(ready, 60)
    async with httpx.AsyncClient(base_url=url) as client:
        waiting = asyncio.ensure_future(client.get("/slow"))
        await asyncio.wait_for(inside.wait(), 10)
        stop.ask()
        while True:
            try:
                await client.get("/healthz", timeout=5)
            except httpx.ConnectError:
                break
            except httpx.HTTPError:
                continue
        order.append("accepts nothing")
        gate.set()
        reply = await asyncio.wait_for(waiting, 10)
    assert (reply.status_code, reply.text, reply.headers["connection"]) == (200, "done", "close")
    await asyncio.wait_for(running, 20)
    assert order == ["accepts nothing", "answered", "models away"]


async def test_asking_twice_does_not_wait(small_models: Any, stack: Any) -> None:
    parts = stack(small_models)
    inside, cancelled = asyncio.Event(), asyncio.Event()

    async def stuck(given: HttpRequest) -> HttpReply:
        inside.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()
        return HttpReply(200)

    parts.application.handle = stuck
    stop, ready = Stop(), asyncio.get_running_loop().create_future()
    options = ServerOptions(port=0, drain_s=3600, lame_duck_s=3600)
    running = asyncio.ensure_future(serve(parts.application, parts.manager, options, ready.set_result, stop))
    url = await asyncio.wait_for(ready, 60)
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        waiting = asyncio.ensure_future(client.get("/slow"))
        await asyncio.wait_for(inside.wait(), 10)
        stop.ask()
        stop.ask()
        with pytest.raises(httpx.HTTPError):
            await waiting
    await asyncio.wait_for(running, 20)
    assert cancelled.is_set()


async def test_a_manager_that_cannot_start_closes_everything(small_models: Any, stack: Any) -> None:
    parts = stack(small_models)

    async def fail() -> None:
        raise InvalidSettings("no such folder")

    parts.manager.start = fail
    with pytest.raises(InvalidSettings, match="no such folder"):
        await serve(parts.application, parts.manager, ServerOptions(port=0))
    assert not parts.application.is_ready()


PROGRAM = """
import asyncio, importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("support", sys.argv[1])
support = importlib.util.module_from_spec(spec)
spec.loader.exec_module(support)
from portside.repository.local import LocalRepository
from portside.server.background import run
from portside.server.options import ServerOptions
from portside.server.run import serve
parts = support.Stack(LocalRepository(Path(sys.argv[2])))
say = lambda url: print(url, flush=True)
run(serve(parts.application, parts.manager, ServerOptions(port=0, drain_s=5), say))
print("ended", flush=True)
"""


@pytest.fixture
def process(small_models: Any) -> Iterator[subprocess.Popen[str]]:
    support = Path(__file__).with_name("conftest.py")
    args = [sys.executable, "-c", PROGRAM, str(support), str(small_models._root)]
    with subprocess.Popen(args, stdout=subprocess.PIPE, text=True, env={**os.environ}) as started:
        yield started
        started.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_drain_and_end_well(process: subprocess.Popen[str], number: signal.Signals) -> None:
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    with httpx.Client(base_url=url, timeout=30) as client:
        assert client.post(HALF, json={"instances": [1.0]}).json() == {"predictions": [2.5]}
        process.send_signal(number)
        assert process.stdout.readline().strip() == "ended"
    assert process.wait(30) == 0


def test_slow_clients_do_not_keep_others_waiting(small_models: Any, stack: Any) -> None:
    with stack(small_models).serve(ListenerOptions(head_s=0.2, tick_s=0.05)) as handle:
        host, port = handle.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as slow:
            slow.sendall(b"GET / HTTP/1.1\r\nHos")
            assert httpx.get(handle.url + "/healthz").status_code == 200
            assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")


async def test_a_lame_duck_still_answers(small_models: Any, stack: Any) -> None:
    parts = stack(small_models)
    stop, ready = Stop(), asyncio.get_running_loop().create_future()
    options = ServerOptions(port=0, lame_duck_s=3600)
    running = asyncio.ensure_future(serve(parts.application, parts.manager, options, ready.set_result, stop))
    url = await asyncio.wait_for(ready, 60)
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        stop.ask()
        statuses = {(await client.get("/readyz")).status_code for _ in range(20)}
        assert 503 in statuses, "balancers are told to go elsewhere"
        assert (await client.post(HALF, json={"instances": [1.0]})).status_code == 200
    stop.ask()
    await asyncio.wait_for(running, 20)


async def test_cancellations_from_inside_and_from_outside(app: Any) -> None:
    gates: list[asyncio.Future[HttpReply]] = []

    async def waits(given: HttpRequest) -> HttpReply:
        gates.append(asyncio.get_running_loop().create_future())
        return await gates[-1]

    application = app.application
    application._known["GET", "/waits"] = (application._pages, waits)
    inside = asyncio.ensure_future(ask(app, "GET", "/waits"))
    outside = asyncio.ensure_future(ask(app, "GET", "/waits"))
    await asyncio.sleep(0)
    assert len(gates) == 2
    gates[0].cancel()
    reply = await asyncio.wait_for(inside, 10)
    assert (reply.status, dict(reply.headers)[b"retry-after"]) == (503, b"1")
    outside.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outside
