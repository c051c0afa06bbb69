"""``portside models``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Portside = Callable[..., Any]


def test_list_says_what_is_published(portside: Portside, published: Path) -> None:
    rows = portside("models", "list", "--repository", published, "--json").json()
    assert [(r["model"], r["version"], r["current"], r["verdict"]) for r in rows] == [
        ("colour", 1, True, "pass"),
        ("mlp", 2, True, "pass"),
        ("mlp", 1, False, "pass"),
    ]
    table = portside("models", "list", "--repository", published).out
    assert "colour" in table
    assert "current" in table


def test_list_of_an_empty_repository_says_how_to_begin(portside: Portside, tmp_path: Path) -> None:
    listed = portside("models", "list", "--repository", tmp_path / "none")
    assert listed.code == 0
    assert "portside build" in listed.out
    assert portside("models", "list", "--repository", tmp_path / "none", "--json").json() == []


def test_show_prints_the_record(portside: Portside, published: Path) -> None:
    manifest = portside("models", "show", "colour", "--repository", published, "--json").json()
    assert manifest["version"] == 1
    assert manifest["evidence"]["verdict"] == "pass"
    assert manifest["evidence"]["selftest"] | {"corrupted": ""} == {
        "identity_passed": True,
        "corruption_detected": True,
        "corrupted": "",
    }
    assert manifest["processing"]["image"]["fused"] is True
    assert manifest["signature"]["inputs"][0]["dtype"] == "uint8"
    assert sum(m.get("chosen", False) for m in manifest["measurements"]) == 1
    shown = portside("models", "show", "colour:1", "--repository", published).out
    assert "Parity" in shown
    assert "Measured on this machine" in shown


@pytest.mark.parametrize(
    ("model", "code", "text"),
    [
        ("nothing", 3, "nothing"),
        ("mlp:9", 3, "1, 2"),
        ("mlp:stable", 3, "stable"),
        ("../mlp", 2, "not a model name"),
        ("mlp:", 2, "not an alias"),
    ],
)
def test_show_explains_what_is_wrong(portside: Portside, published: Path, model: str, code: int, text: str) -> None:
    shown = portside("models", "show", model, "--repository", published)
    assert shown.code == code
    assert text in shown.err
    assert "Traceback" not in shown.err
    as_json = portside("models", "show", model, "--repository", published, "--json")
    assert as_json.code == code
    assert text in as_json.json()["error"]["message"]


def test_aliases_come_and_go(portside: Portside, repository: Path) -> None:
    assert portside("models", "alias", "mlp", "stable", 1, "--repository", repository).code == 0
    assert portside("models", "show", "mlp:stable", "--repository", repository, "--json").json()["version"] == 1
    assert portside("models", "alias", "mlp", "stable", 7, "--repository", repository).code == 3
    assert portside("models", "alias", "mlp", "stable", "--repository", repository).code == 2
    assert portside("models", "alias", "mlp", "stable", "--drop", "--repository", repository).code == 0
    assert portside("models", "show", "mlp:stable", "--repository", repository).code == 3


def test_rollback_and_back(portside: Portside, repository: Path) -> None:
    def current() -> int:
        return portside("models", "show", "mlp", "--repository", repository, "--json").json()["version"]

    assert portside("models", "rollback", "mlp", "--repository", repository).code == 0
    assert current() == 1
    assert portside("models", "rollback", "mlp", "--repository", repository).code == 8  # nothing older
    assert portside("models", "rollback", "mlp", "--to", "latest", "--repository", repository).code == 0
    assert current() == 2
    assert portside("models", "rollback", "mlp", "--to", 1, "--hold", "--repository", repository).code == 0
    assert current() == 1
    assert portside("models", "rollback", "mlp", "--to", "seven", "--repository", repository).code == 2


def test_delete_needs_force_for_what_is_current(portside: Portside, repository: Path) -> None:
    assert portside("models", "delete", "mlp:2", "--repository", repository).code == 8
    assert portside("models", "delete", "mlp", "--repository", repository).code == 2
    assert portside("models", "delete", "mlp:1", "--repository", repository).code == 0
    assert portside("models", "delete", "mlp:2", "--force", "--repository", repository).code == 0
    assert portside("models", "show", "mlp", "--repository", repository).code == 3


def test_gc_keeps_what_is_asked_for(portside: Portside, repository: Path) -> None:
    portside("models", "gc", "--keep", 1, "--min-age", 0, "--repository", repository)
    rows = portside("models", "list", "--repository", repository, "--json").json()
    assert [(r["model"], r["version"]) for r in rows] == [("colour", 1), ("mlp", 2)]


def test_check_finds_a_damaged_record(portside: Portside, repository: Path) -> None:
    record = repository / "mlp" / "1" / "manifest.json"
    record.chmod(0o644)
    record.write_text("{")
    for which in ((), ("mlp",), ("mlp:1",)):
        found = portside("models", "check", *which, "--repository", repository, "--json")
        assert found.code == 7, found.err
        assert found.json()["versions"]["mlp:1"]
    assert portside("models", "check", "mlp:2", "--repository", repository).code == 0
    assert portside("models", "check", "mlp:9", "--repository", repository).code == 3
    assert portside("models", "check", "nothing", "--repository", repository).code == 3


def test_check_finds_a_changed_file(portside: Portside, repository: Path) -> None:
    assert portside("models", "check", "--repository", repository).code == 0
    graph = next((repository / "mlp" / "1").glob("*.onnx"))
    graph.chmod(0o644)
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    found = portside("models", "check", "--repository", repository, "--json")
    assert found.code == 7
    versions = found.json()["versions"]
    assert versions["mlp:1"]
    assert versions["mlp:2"] == versions["colour:1"] == []
