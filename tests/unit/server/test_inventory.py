from __future__ import annotations

import json

from portside.model.status import State, VersionStatus
from portside.server.inventory import inventory, reply


def test_versions_without_a_manifest_newest_first() -> None:
    statuses = [
        VersionStatus("b", 1, State.READY, aliases=("stable",), current=True),
        VersionStatus("b", 2, State.FAILED, "it cannot be loaded"),
        VersionStatus("a", 1, State.LOADING),
    ]
    shown = reply(inventory(statuses, ready=False))
    document = json.loads(shown.body)
    assert document["ready"] is False
    assert [m["name"] for m in document["models"]] == ["a", "b"]
    newest, oldest = document["models"][1]["versions"]
    assert (newest["version"], newest["state"], newest["reason"]) == (2, "failed", "it cannot be loaded")
    assert (oldest["aliases"], oldest["current"], oldest["engine"]) == (["stable"], True, None)
    assert (b"cache-control", b"no-store") in shown.headers


def test_nothing() -> None:
    assert json.loads(reply(inventory([], ready=True)).body) == {"ready": True, "models": []}
