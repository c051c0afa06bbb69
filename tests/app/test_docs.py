"""The documents say what is true."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from portside.app.cli import COMMANDS, cli
from portside.app.exitcodes import EXIT_CODES
from portside.errors import ErrorCode, PortsideError

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


ALL = commands(cli)


@pytest.mark.parametrize("line", re.findall(r"^portside .*$", README, re.MULTILINE))
def test_commands_in_the_readme_exist(line: str) -> None:
    words = line.split("#", maxsplit=1)[0].split()[1:]
    command = max((c for c in ALL if tuple(words[: len(c[0])]) == c[0]), key=lambda c: len(c[0]))[1]
    known = {o for p in command.params for o in p.opts}
    for word in words:
        if word.startswith("--"):
            assert word in known, f"{word} in: {line}"


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(p) for p, _ in ALL])
def test_help_teaches(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    assert len(command.help) > 30
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name != "log_level":
            assert parameter.help, f"{path} {parameter.name}"


def test_the_table_of_commands_is_complete() -> None:
    assert {p[0] for p, _ in ALL} == set(COMMANDS)


def test_every_error_code_has_an_exit_code() -> None:
    assert set(EXIT_CODES) == set(ErrorCode)
    assert 0 not in EXIT_CODES.values()


def test_the_error_tree_is_drawn() -> None:
    import portside.errors as tree

    drawn = tree.__doc__ or ""
    classes = [c for c in vars(tree).values() if isinstance(c, type) and issubclass(c, PortsideError)]
    assert len(classes) > 20
    for c in classes:
        assert re.search(rf"\b{c.__name__}\b", drawn), c.__name__


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name} -> {target}"
