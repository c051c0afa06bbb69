from __future__ import annotations

import resource
import shlex
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from portside.server.descriptors import affordable, fitting, needed

PING = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("connections", [1, 2, 57, 716, 4096])
def test_what_is_needed_is_enough(connections: int) -> None:
    assert fitting(connections, needed(connections)) == connections
    assert fitting(connections, 1 << 20) == connections


def test_with_few_descriptors_there_are_fewer_connections_but_one() -> None:
    assert fitting(4096, 1024) == 716
    assert fitting(4096, 100) == 1
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert affordable(3) == 3
    assert affordable(soft + 1) == fitting(soft + 1, soft)


def first_bytes(connection: socket.socket) -> bytes:
    try:
        connection.sendall(PING)
        return connection.recv(1000)
    except ConnectionError:
        return b""


def test_a_server_with_few_descriptors_refuses_instead_of_leaving_clients_waiting(tmp_path: Path) -> None:
    serve = [sys.executable, "-m", "portside", "serve", "--repository", str(tmp_path), "--port", "0"]
    command = ["sh", "-c", f"ulimit -n 200 && exec {shlex.join(serve)}"]
    with ExitStack() as stack, subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        stack.callback(server.kill)
        assert server.stderr is not None
        url = urlsplit(next(line for line in server.stderr if line.startswith("Serving")).split()[-1])
        opened = [
            stack.enter_context(socket.create_connection((url.hostname, url.port), timeout=20)) for _ in range(220)
        ]
        answers = [first_bytes(one)[:12] for one in opened]
        server.terminate()
        assert server.stderr.read().count("repository cannot be read") == 0
    assert answers[:56] == [b"HTTP/1.1 200"] * 56
    assert set(answers[56:]) == {b"HTTP/1.1 503", b""}
