"""One timer for all requests ends each of them at its own time."""

import asyncio

import pytest

from app.api.time_limit import TimeLimit, TimeLimits

LONG_S = 60.0


def at(after_s: float) -> float:
    return asyncio.get_running_loop().time() + after_s


async def late(limits: TimeLimits, after_s: float, *, works_s: float = LONG_S) -> str:
    limit = TimeLimit(limits, at(after_s))
    try:
        with limit:
            await asyncio.sleep(works_s)
    except TimeoutError:
        assert limit.is_over
        return "late"
    return "done"


async def test_each_ends_at_its_own_time_whatever_their_order() -> None:
    limits = TimeLimits()
    ends: list[str] = []

    async def named(name: str, after_s: float) -> None:
        assert await late(limits, after_s) == "late"
        ends.append(name)

    tasks = [named("third", 1.5), named("first", 0.01), named("second", 0.75)]
    async with asyncio.timeout(LONG_S / 2):
        await asyncio.gather(*tasks)
    assert ends == ["first", "second", "third"]


async def test_who_is_in_time_is_left_alone() -> None:
    limits = TimeLimits()
    quick, slow, patient = await asyncio.gather(
        late(limits, 0.02, works_s=0), late(limits, 0.02), late(limits, LONG_S, works_s=0.06)
    )
    assert (quick, slow, patient) == ("done", "late", "done")
    assert not limits._under_way
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_a_limit_that_is_over_already_ends_at_the_first_wait() -> None:
    assert await late(TimeLimits(), -1.0) == "late"


async def test_a_cancellation_from_elsewhere_goes_on() -> None:
    limits = TimeLimits()
    task = asyncio.create_task(late(limits, LONG_S))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_both_at_once_are_a_cancellation() -> None:
    limits = TimeLimits()
    task = asyncio.create_task(late(limits, LONG_S))
    await asyncio.sleep(0)
    (limit,) = limits._under_way
    limit.expire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_own_error_leaves_as_it_is() -> None:
    limits = TimeLimits()
    with pytest.raises(ValueError, match="mine"), TimeLimit(limits, at(LONG_S)):
        raise ValueError("mine")
    assert not limits._under_way
