"""``portside serve`` ends cleanly whenever it is told to, also while it is still loading."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.mark.parametrize("address", ["/v2/health/live", "/v2/health/ready"])
def test_sigterm_ends_it_cleanly(published: Path, address: str) -> None:
    """It listens (and is live) before the models are loaded: told to stop then, it stops then."""
    port = free_port()
    command = [sys.executable, "-m", "portside", "serve", "--repository", str(published), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            deadline = monotonic() + 60
            answered = False
            while not answered and monotonic() < deadline and server.poll() is None:
                with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{address}", timeout=5):
                    answered = True
            server.send_signal(signal.SIGTERM)
            out, _ = server.communicate(timeout=60)
        finally:
            server.kill()
    assert answered, out
    assert server.returncode == 0, out
    assert "stopped" in out
    assert "Traceback" not in out
