from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from time import monotonic
from types import SimpleNamespace

import numpy as np
import pytest

from portside.engine.base import Session
from portside.errors import DeadlineExceeded, EngineFailed, InvalidImage, Overloaded, Unavailable
from portside.model.tensors import Array
from portside.serving.instance import INLINE_LIMIT_S, InstancePool


def far() -> float:
    return monotonic() + 30


def soon() -> float:
    return monotonic() + 0.02


async def entered(session: object) -> None:
    """Waits until the session is inside ``run``."""
    semaphore: threading.Semaphore = session.entered  # type: ignore[attr-defined]
    assert await asyncio.to_thread(semaphore.acquire, timeout=30)


def run(session: Session) -> int:
    return len(session.run({"x": np.ones((1, 2), np.float32)}))


async def test_work_runs_on_another_thread_and_its_times_are_told(make: SimpleNamespace) -> None:
    pool = make.pool(make.GatedSession())
    done = await pool.submit(lambda _: threading.current_thread().name, far())
    assert done.value == "test#0"
    assert done.queue_s >= 0
    assert done.compute_s >= 0


async def test_none_is_a_result(make: SimpleNamespace) -> None:
    assert (await make.pool(make.GatedSession()).submit(lambda _: None, far())).value is None


async def test_our_errors_come_as_they_are_and_foreign_ones_as_engine_failed(make: SimpleNamespace) -> None:
    pool = make.pool(make.GatedSession())

    def ours(_: Session) -> None:
        raise InvalidImage("not a picture")

    def foreign(_: Session) -> None:
        raise ZeroDivisionError("secret")

    def deadly(_: Session) -> None:
        raise SystemExit(3)

    with pytest.raises(InvalidImage, match="not a picture"):
        await pool.submit(ours, far())
    for broken in (foreign, deadly):
        with pytest.raises(EngineFailed) as caught:
            await pool.submit(broken, far())
        assert "secret" not in caught.value.message
    assert (await pool.submit(lambda _: 7, far())).value == 7


async def test_every_session_has_one_caller_at_a_time(make: SimpleNamespace) -> None:
    pool = make.pool(make.GatedSession(), make.GatedSession(), capacity=500)
    inside: dict[int, int] = {}

    def check(session: Session) -> bool:
        inside[id(session)] = inside.get(id(session), 0) + 1
        alone = inside[id(session)] == 1
        inside[id(session)] -= 1
        return alone

    async def via_loop() -> list[bool]:
        answers = []
        for _ in range(200):
            done = pool.run_inline(check)
            answers.append(done is None or done.value)
            await asyncio.sleep(0)
        return answers

    submitted = asyncio.gather(*(pool.submit(check, far()) for _ in range(200)))
    inline = await via_loop()
    assert all(inline)
    assert all(done.value for done in await submitted)


async def test_a_full_queue_refuses_at_the_door_and_keeps_what_waits(make: SimpleNamespace) -> None:
    session = make.GatedSession(shut=True)
    pool = make.pool(session, capacity=2)
    running = [asyncio.ensure_future(pool.submit(run, far())) for _ in range(3)]
    await entered(session)
    with pytest.raises(Overloaded, match="2 requests are waiting"):
        await pool.submit(run, far())
    session.gate.set()
    assert [done.value for done in await asyncio.gather(*running)] == [1, 1, 1]
    assert (await pool.submit(run, far())).value == 1


async def test_a_deadline_that_passed_is_told_apart_while_waiting_and_while_running(make: SimpleNamespace) -> None:
    session = make.GatedSession(shut=True)
    pool = make.pool(session)
    first = asyncio.ensure_future(pool.submit(run, soon()))
    second = asyncio.ensure_future(pool.submit(run, soon()))
    with pytest.raises(DeadlineExceeded, match="still computing"):
        await first
    with pytest.raises(DeadlineExceeded, match="still waiting"):
        await second
    session.gate.set()
    assert (await pool.submit(lambda _: "late results are dropped", far())).value.startswith("late")
    assert len(session.seen) == 1, "work whose caller went is not started"


async def test_a_deadline_in_the_past_starts_nothing(make: SimpleNamespace) -> None:
    session = make.GatedSession()
    pool = make.pool(session)
    with pytest.raises(DeadlineExceeded):
        await pool.submit(run, monotonic() - 1)
    await pool.submit(lambda _: None, far())
    assert session.seen == []


async def test_cancelling_one_caller_leaves_the_others_alone(make: SimpleNamespace) -> None:
    session = make.GatedSession(shut=True)
    pool = make.pool(session)
    tasks = [asyncio.ensure_future(pool.submit(lambda s, i=i: (run(s), i)[1], far())) for i in range(5)]
    await entered(session)
    tasks[0].cancel()
    tasks[3].cancel()
    session.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(r, "value", type(r)) for r in results] == [
        asyncio.CancelledError, 1, 2, asyncio.CancelledError, 4,
    ]  # fmt: skip
    assert len(session.seen) == 4, "the one that waited was not run, the one that ran was not interrupted"


async def test_a_closed_coroutine_leaves_nothing_behind(make: SimpleNamespace) -> None:
    pool = make.pool(make.GatedSession())
    coroutine = pool.submit(run, far())
    coroutine.send(None)
    coroutine.close()
    assert (await pool.submit(run, far())).value == 1


async def test_closing_answers_what_waits_and_lets_what_runs_finish(make: SimpleNamespace) -> None:
    session = make.GatedSession(shut=True)
    pool = make.pool(session)
    running = asyncio.ensure_future(pool.submit(run, far()))
    await entered(session)
    waiting = [asyncio.ensure_future(pool.submit(run, far())) for _ in range(3)]
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(pool.aclose(30))
    for task in waiting:
        with pytest.raises(Unavailable):
            await task
    assert not closing.done()
    session.gate.set()
    assert (await running).value == 1
    assert await closing
    with pytest.raises(Unavailable):
        await pool.submit(run, far())
    with pytest.raises(Unavailable):
        pool.run_inline(run)


async def test_closing_does_not_wait_for_ever_for_an_engine_that_hangs(make: SimpleNamespace) -> None:
    session = make.GatedSession(shut=True)
    pool = make.pool(session)
    hung = asyncio.ensure_future(pool.submit(run, soon()))
    with pytest.raises(DeadlineExceeded):
        await hung
    assert not await pool.aclose(0.01)
    session.gate.set()
    assert await pool.aclose(30)


async def test_a_pool_that_was_not_started_says_so() -> None:
    pool = InstancePool([])
    with pytest.raises(Unavailable):
        await pool.submit(run, far())
    assert await pool.aclose(1)


async def test_inline_work_runs_here_and_raises_what_submitted_work_raises(make: SimpleNamespace) -> None:
    pool = make.pool(make.GatedSession())
    assert pool.run_inline(lambda _: threading.current_thread()).value is threading.main_thread()

    def foreign(_: Session) -> None:
        raise ZeroDivisionError

    def ours(_: Session) -> None:
        raise InvalidImage("no")

    with pytest.raises(EngineFailed):
        pool.run_inline(foreign)
    with pytest.raises(InvalidImage):
        pool.run_inline(ours)
    assert pool.run_inline(lambda _: 1).value == 1


async def test_inline_work_does_not_wait_for_a_busy_session(make: SimpleNamespace) -> None:
    session = make.GatedSession(shut=True)
    pool = make.pool(session)
    task = asyncio.ensure_future(pool.submit(run, far()))
    await entered(session)
    assert pool.run_inline(run) is None
    session.gate.set()
    await task


async def test_many_at_once_all_get_their_own_answer(make: SimpleNamespace) -> None:
    pool = make.pool(make.GatedSession(), make.GatedSession(), make.GatedSession(), capacity=2000)
    answers = await asyncio.gather(*(pool.submit(lambda _, i=i: i, far()) for i in range(2000)))
    assert [done.value for done in answers] == list(range(2000))


async def test_inline_work_that_turns_out_long_goes_to_the_workers(make: SimpleNamespace) -> None:
    pool = make.pool(make.GatedSession())
    pause = threading.Event()

    def long(_: Session) -> None:
        pause.wait(10 * INLINE_LIMIT_S)

    for runs in range(100):  # noqa: B007 -- used below
        if pool.run_inline(long) is None:
            break
    assert 1 < runs < 99, "one long run does not decide"
    assert (await pool.submit(lambda _: 1, far())).value == 1


async def test_sessions_are_freed_before_the_end_is_told() -> None:
    """Else an engine's destructor may still run on the worker's thread when the interpreter ends."""
    freed: list[str] = []

    class Slow:
        input_names = output_names = ()

        def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            return dict(inputs)

        def __del__(self) -> None:
            threading.Event().wait(0.05)  # long enough that a premature end would be seen
            freed.append("session")

    pool = InstancePool([Slow()])
    pool.start()
    assert await pool.aclose(10)
    assert freed == ["session"]
