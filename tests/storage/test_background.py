"""Work beside the requests ends when it is told to."""

import asyncio

import pytest

from app.storage.background import running


async def test_ends_though_a_cancellation_was_lost() -> None:
    lost = 0

    async def work() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if lost == 2:
                    raise
                lost += 1

    async with asyncio.timeout(10):
        async with running(work()):
            await asyncio.sleep(0)
    assert lost == 2


async def test_an_error_of_the_work_is_raised() -> None:
    async def work() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        async with running(work()):
            await asyncio.sleep(0)
