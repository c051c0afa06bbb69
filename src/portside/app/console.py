"""What a person sees in a terminal: progress, tables, errors. Machines get JSON instead."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from portside.errors import PortsideError
from portside.observe.null import NullProgress
from portside.observe.ports import Progress as ProgressPort


def stderr_console() -> Console:
    """Progress and messages go to standard error, so that standard output stays clean for results."""
    return Console(stderr=True, highlight=False)


class TerminalProgress:
    """Shows the steps of a long work as bars; on anything that is not a terminal, one line a finished step.

    Implements the ``Progress`` port. Use as a context manager.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._step = ""

    def __enter__(self) -> TerminalProgress:
        if self._console.is_terminal:
            self._bars = Progress(
                SpinnerColumn(finished_text="[green]✓[/green]"),
                TextColumn("{task.description:<9}"),
                BarColumn(bar_width=24),
                TimeElapsedColumn(),
                TextColumn("[dim]{task.fields[note]}[/dim]"),
                console=self._console,
            )
            self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def start(self, step: str, total: int | None = None) -> None:
        """A step begins."""
        self._step = step
        if self._bars is not None:
            self._task = self._bars.add_task(step, total=total, note="")

    def advance(self, done: int = 1, note: str = "") -> None:
        """Units of the running step were done."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, advance=done, note=note)

    def finish(self, note: str = "") -> None:
        """The running step is over."""
        if self._bars is not None and self._task is not None:
            total = self._bars.tasks[self._task].total or 1
            self._bars.update(self._task, total=total, completed=total, note=note)
        else:
            self._console.print(f"{self._step}: {note}" if note else self._step, markup=False)


def progress(*, json: bool) -> AbstractContextManager[ProgressPort]:
    """The progress display that fits the output that was asked for: none for machines."""
    return nullcontext(NullProgress()) if json else TerminalProgress(stderr_console())


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[int] = frozenset()
) -> Table:
    """A table for a person.

    Args:
        title: above the table.
        columns: headings.
        rows: cells, rich markup allowed.
        right: indices of right-aligned columns.
    """
    made = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for index, name in enumerate(columns):
        made.add_column(name, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def print_table(made: Table, file: TextIO | None = None) -> None:
    """Prints to standard output, as wide as the content where that is not a terminal."""
    console = Console(file=file or sys.stdout, highlight=False)
    if not console.is_terminal:
        console = Console(file=file or sys.stdout, highlight=False, width=200)
    console.print(made)


def print_json(value: msgspec.Struct | Sequence[object] | dict[str, object]) -> None:
    """One JSON document on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_error(error: PortsideError, *, json: bool) -> None:
    """An error for a person on standard error, or as one JSON object on standard output."""
    if json:
        print_json({"error": {"code": error.code.value, "message": error.message, "detail": error.detail}})
        return
    console = stderr_console()
    console.print("[bold red]error:[/bold red]", end=" ")
    console.print(error.message, markup=False, soft_wrap=True)
    if error.detail:
        console.print(error.detail, markup=False, style="dim", soft_wrap=True)


def megabytes(size_bytes: int) -> str:
    """A size for a person: ``18.7 MB``, ``243 B``."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return ""
