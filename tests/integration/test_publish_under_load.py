"""New versions appear while clients keep asking over HTTP: nobody is refused, nobody sees an older version again."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx

from portside.repository.local import LocalRepository

VERSIONS = 50


class Client(threading.Thread):
    """Asks without a pause and keeps what it was told: the version is the answer for 0."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        super().__init__()
        self.url, self.stop = url, stop
        self.answers: list[float] = []
        self.failures: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self.stop.is_set():
                reply = client.post("/v1/models/counter:predict", json={"instances": [0.0]})
                if reply.status_code == 200:
                    self.answers.append(reply.json()["predictions"][0])
                else:
                    self.failures.append(reply.text)


def test_publishing_loses_no_request(tmp_path: Path, stack: Any, small_model: Any) -> None:
    repository = LocalRepository(tmp_path / "repository")
    small_model(1.0).publish(repository, "counter", tmp_path / "v1")
    parts = stack(repository, poll_s=0.02)
    stop = threading.Event()
    with parts.serve() as handle:
        clients = [Client(handle.url, stop) for _ in range(3)]
        for client in clients:
            client.start()
        try:
            for version in range(2, VERSIONS + 1):
                small_model(float(version)).publish(repository, "counter", tmp_path / f"v{version}")
            with httpx.Client(base_url=handle.url, timeout=60) as client:
                for _ in range(100_000):
                    answer = client.post("/v1/models/counter:predict", json={"instances": [0.0]}).json()
                    if answer["predictions"] == [VERSIONS]:
                        break
        finally:
            stop.set()
            for thread in clients:
                thread.join(60)
    for client in clients:
        assert client.failures == []
        assert client.answers == sorted(client.answers)
        assert len(client.answers) > VERSIONS
    assert answer["predictions"] == [VERSIONS]
    assert len({a for c in clients for a in c.answers}) > 3, "the clients have seen versions come and go"
