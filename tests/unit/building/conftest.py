from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest


class Shown:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def start(self, step: str, total: int | None = None) -> None:
        self.calls.append(("start", step, total))

    def advance(self, done: int = 1, note: str = "") -> None:
        self.calls.append(("advance", done, note))

    def finish(self, note: str = "") -> None:
        self.calls.append(("finish", note))


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """Makes the command line of a small program; the step's folder and the progress pipe are appended to it."""

    def make(body: str) -> tuple[str, ...]:
        file = tmp_path / "program.py"
        head = "import os, signal, sys, threading\nfrom pathlib import Path\n"
        head += "folder = Path(sys.argv[1])\nfd = int(sys.argv[3])\n"
        file.write_text(head + textwrap.dedent(body))
        return (sys.executable, str(file))

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "ws" / "convert"
    path.mkdir(parents=True)
    return path
