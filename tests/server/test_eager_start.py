"""A request begins at once, and is a task from its first wait on."""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from app.server import eager_start

named: ContextVar[str] = ContextVar("named", default="nobody")


async def started(request: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Start a request as the event loop does: outside any task."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[asyncio.Task[None] | None] = loop.create_future()
    loop.call_soon(lambda: outcome.set_result(eager_start.start(request, loop)))
    return await outcome


async def test_a_request_that_waits_for_nothing_needs_no_task() -> None:
    told: list[str] = []

    async def request() -> None:
        named.set("caller")
        told.append(named.get())

    assert await started(request()) is None
    assert (told, named.get()) == (["caller"], "nobody")


async def test_a_request_that_waits_goes_on_as_a_task_in_its_own_context() -> None:
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    told: list[object] = []

    async def request() -> None:
        named.set("caller")
        told.extend((await answer, named.get(), asyncio.current_task()))
        await asyncio.sleep(0)
        told.append("after another wait")

    task = await started(request())
    assert task is not None
    assert told == []
    answer.set_result(7)
    await task
    assert told == [7, "caller", task, "after another wait"]


async def test_a_time_limit_that_began_before_the_task_ends_it() -> None:
    told: list[str] = []

    async def request() -> None:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            told.append("too late")
        await asyncio.sleep(0)
        told.append("goes on")

    task = await started(request())
    assert task is not None
    await task
    assert told == ["too late", "goes on"]


async def test_a_cancellation_before_the_task_has_run_reaches_the_request() -> None:
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    told: list[str] = []

    async def request() -> None:
        try:
            await answer
        finally:
            told.append("cleaned up")

    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[asyncio.Task[None]] = loop.create_future()

    def start_and_cancel() -> None:
        task = eager_start.start(request(), loop)
        assert task is not None
        task.cancel()
        outcome.set_result(task)

    loop.call_soon(start_and_cancel)
    with pytest.raises(asyncio.CancelledError):
        await (await outcome)
    assert (told, answer.cancelled()) == (["cleaned up"], True)


async def test_an_error_before_the_first_wait_reaches_the_event_loop() -> None:
    async def request() -> None:
        raise LookupError

    loop = asyncio.get_running_loop()
    raised: asyncio.Future[type] = loop.create_future()

    def start() -> None:
        try:
            eager_start.start(request(), loop)
        except LookupError:
            raised.set_result(type(asyncio.current_task(loop)))

    loop.call_soon(start)
    assert await raised is type(None)
