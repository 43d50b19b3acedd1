"""Background work goes on after an error, and ends when it is told to."""

import asyncio

import pytest

from app.errors import StorageUnavailable
from app.memory.periodic import periodically


async def test_an_error_is_logged_and_the_work_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    turns = 0
    enough = asyncio.Event()

    async def work() -> None:
        nonlocal turns
        turns += 1
        if turns == 1:
            raise StorageUnavailable("gone")
        enough.set()

    async with periodically(work, 0.001, "work"):
        await enough.wait()
    assert "work failed, tried again in 0.001 s: gone" in caplog.text
    ended_at = turns
    await asyncio.sleep(0.01)
    assert turns == ended_at


async def test_a_fault_ends_it_loudly(caplog: pytest.LogCaptureFixture) -> None:
    failed = asyncio.Event()

    async def broken() -> None:
        failed.set()
        raise ZeroDivisionError

    async def run() -> None:
        async with periodically(broken, 0.001, "broken"):
            await failed.wait()
            await asyncio.sleep(0.01)

    with pytest.raises(ZeroDivisionError):
        await run()
    assert "broken ended: no more until a restart" in caplog.text
