"""Starts a coroutine at once, and makes a task of it only if it has to wait.

A request that is answered without waiting (a small network run inline) costs no task, no callback and no turn of the
loop. One that does wait goes on inside an ordinary task, with everything asyncio promises: cancellation, context,
``asyncio.current_task()``. Before its first wait a coroutine must not ask for the current task.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


@types.coroutine
def _resumed(coroutine: Coroutine[Any, Any, T], waiting: Any) -> Generator[Any, Any, T]:  # noqa: ANN401 -- asyncio's
    """Goes on with a coroutine that already gave ``waiting`` (a future, or ``None`` for a bare yield)."""
    try:
        try:
            yield
        except asyncio.CancelledError as e:
            # Cancelled before the task's first step: asyncio would have cancelled what is waited for.
            if waiting is None or not waiting.cancel():
                waiting = coroutine.throw(e)
        while True:
            try:
                sent = yield waiting
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as e:  # noqa: BLE001 -- a cancellation belongs to the coroutine, whatever it is
                waiting = coroutine.throw(e)
            else:
                waiting = coroutine.send(sent)
    except StopIteration as done:
        value: T = done.value
        return value


async def _continued(coroutine: Coroutine[Any, Any, T], waiting: Any) -> T:  # noqa: ANN401 -- asyncio's
    return await _resumed(coroutine, waiting)


def continue_in_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, T],
    waiting: Any,  # noqa: ANN401 -- asyncio's
) -> asyncio.Task[T]:
    """Hands a started coroutine over to a task.

    Args:
        loop: the loop it was started on.
        coroutine: the started coroutine; it belongs to the task from here on.
        waiting: what its first ``send(None)`` returned.
    """
    started = _continued(coroutine, waiting)
    # A task that is cancelled before its first step drops a coroutine that has not begun; one that has is told.
    started.send(None)
    return loop.create_task(started)
