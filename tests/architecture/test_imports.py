"""Holds the code to the tables in ARCHITECTURE.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "portside"
FORBIDDEN_MODULES = {"utils", "common", "helpers", "misc", "core"}


def rows(heading: str) -> list[list[str]]:
    """The body rows of the table under a heading, cells stripped."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def allowed() -> dict[str, set[str]]:
    table = {}
    for unit, _, may in rows("Who may import whom"):
        table[unit.strip("`")] = set() if may == "–" else {name.strip() for name in may.split(",")}
    return table


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def unit_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every imported dotted name of a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} uses a relative import"
            base = node.module or ""
            yield node.lineno, base
            if base == "portside":
                for alias in node.names:
                    yield node.lineno, f"portside.{alias.name}"


def test_every_unit_is_in_the_table() -> None:
    units = {unit_of(p) for p in modules()} - {"__init__", "__main__"}
    assert units == set(allowed())


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_are_in_the_table(path: Path) -> None:
    unit = unit_of(path)
    may = {"app"} if unit in {"__init__", "__main__"} else allowed()[unit] | {unit}
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "portside":
            assert len(parts) > 1, f"{path.name}:{line} imports the package root"
            assert parts[1] in may, f"{path.relative_to(ROOT)}:{line}: {unit} may not import {parts[1]}"


def test_the_table_has_no_cycle() -> None:
    table, done = allowed(), set[str]()
    while len(done) < len(table):
        free = {unit for unit, may in table.items() if unit not in done and may <= done}
        assert free, f"a cycle among {set(table) - done}"
        done |= free


def test_the_two_lines_do_not_meet() -> None:
    table = allowed()
    offline, online = {"convert", "optimize", "verify", "building"}, {"serving", "protocol", "server"}
    for unit in offline:
        assert not table[unit] & online
    for unit in online:
        assert not table[unit] & offline


def test_third_party_packages_stay_in_their_place() -> None:
    places = {}
    for packages, where in rows("Third-party packages that live in one place"):
        for package in re.findall(r"`([^`]+)`", packages):
            places[package] = re.findall(r"`([^`]+)`", where)
    for path in modules():
        inside = str(path.relative_to(SOURCE))
        for line, name in imports(path):
            homes = places.get(name.split(".")[0])
            assert homes is None or any(inside == h or inside.startswith(h + "/") for h in homes), (
                f"{inside}:{line} imports {name}, which lives in {homes}"
            )


def test_module_names_say_something() -> None:
    for path in modules():
        assert path.stem not in FORBIDDEN_MODULES, path


def test_modules_and_functions_stay_small() -> None:
    for path in modules():
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 400, f"{path} has over 400 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 60, f"{path}:{node.lineno} {node.name} has {length} lines"


def test_environment_is_read_in_one_place() -> None:
    for path in modules():
        if path.name != "settings.py":
            text = path.read_text(encoding="utf-8")
            assert "os.environ" not in text, path
            assert "getenv(" not in text, path
