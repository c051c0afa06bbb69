from __future__ import annotations

import asyncio
from typing import Any

import pytest

from portside.server.eager import continue_in_task


async def begin(coroutine: Any) -> asyncio.Task[Any]:
    return continue_in_task(asyncio.get_running_loop(), coroutine, coroutine.send(None))


async def test_it_goes_on_where_it_waited() -> None:
    gate: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> int:
        first = await gate
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await asyncio.sleep(0.001)
        assert asyncio.current_task() is not None
        return first + 1

    task = await begin(work())
    gate.set_result(41)
    assert await task == 42


async def test_a_future_that_is_done_before_the_task_begins() -> None:
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work() -> str:
        return await gate

    coroutine = work()
    waiting = coroutine.send(None)
    gate.set_result("early")
    assert await continue_in_task(asyncio.get_running_loop(), coroutine, waiting) == "early"


async def test_errors_of_the_future_and_of_the_coroutine() -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def caught() -> str:
        try:
            await gate
        except ValueError as e:
            await asyncio.sleep(0)
            return f"caught {e}"
        return "not"

    task = await begin(caught())
    gate.set_exception(ValueError("it"))
    assert await task == "caught it"

    async def broken() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await (await begin(broken()))


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_cancelling_reaches_the_coroutine(turns: int) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)
            seen.append("tidied")
            raise

    coroutine = work()
    task = await begin(coroutine)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled", "tidied"]


async def test_cancelling_before_the_first_step_cancels_what_is_waited_for() -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await gate

    task = await begin(work())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.cancelled()


async def test_a_bare_yield_cancelled_before_the_first_step() -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    task = await begin(work())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_may_be_refused() -> None:
    async def work() -> str:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "stays"
        return "not"

    task = await begin(work())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "stays"
