"""Keeps what frameworks print and warn away from the terminal, and at hand for when they fail."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

_TAIL_BYTES = 3000


class Said:
    """What was printed so far. Owned by :func:`quiet`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def tail(self) -> str:
        """The end of it, for an error's detail."""
        try:
            data = self._path.read_bytes()[-_TAIL_BYTES:]
        except OSError:
            return ""
        return data.decode("utf-8", "replace").strip()


@contextlib.contextmanager
def quiet(folder: Path | None = None) -> Iterator[Said]:
    """Sends standard output, standard error and warnings into a file until the block ends.

    Native code writes to the file descriptors, so those are turned, not only Python's streams. The file lies in
    ``folder`` and is removed afterwards; it stays only if the process dies in between, where it is the one witness.
    Turns process-wide state: not for use from two threads.

    Args:
        folder: where the file lies; without it, among the system's temporary files.
    """
    descriptor, name = tempfile.mkstemp(prefix="converter-", suffix=".log", dir=folder)
    path = Path(name)
    with contextlib.ExitStack() as stack:
        stack.callback(path.unlink, missing_ok=True)
        text = stack.enter_context(open(descriptor, "w", encoding="utf-8", errors="replace", buffering=1))  # noqa: PTH123 -- a descriptor
        for number in (1, 2):
            _turn(stack, number, descriptor)
        stack.enter_context(contextlib.redirect_stdout(text))
        stack.enter_context(contextlib.redirect_stderr(text))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield Said(path)


def _turn(stack: contextlib.ExitStack, number: int, target: int) -> None:
    """Points one of the standard descriptors at ``target`` until the stack unwinds."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    try:
        saved = os.dup(number)
    except OSError:  # closed, as in a daemon: nothing to protect
        return

    def restore() -> None:
        os.dup2(saved, number)
        os.close(saved)

    os.dup2(target, number)
    stack.callback(restore)
