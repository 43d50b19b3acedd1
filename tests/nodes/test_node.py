"""What is under way on a node ends when it is given up, however often that is said."""

import asyncio

import pytest
from redis.asyncio import Redis

from app.errors import StorageTimeout
from app.nodes.node import RedisNode


@pytest.fixture
def node(redis: Redis) -> RedisNode:
    return RedisNode("n", client=redis, waiting=redis, probe=redis, is_master=True)


async def hang_on() -> None:
    """As a client that loses a cancellation does: it goes on, once."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.sleep(0.05)
        raise


async def read(node: RedisNode) -> None:
    async with node.reading():
        await hang_on()


async def write(node: RedisNode) -> None:
    async with node.writing():
        await hang_on()


async def test_what_is_given_up_ends_and_what_is_not_goes_on(node: RedisNode) -> None:
    reading, writing = asyncio.create_task(read(node)), asyncio.create_task(write(node))
    await asyncio.sleep(0)
    node.give_up_reads()
    with pytest.raises(StorageTimeout, match="did not answer in time"):
        await reading
    assert node.reads == set()
    assert not writing.done()
    node.give_up_writes()
    with pytest.raises(StorageTimeout, match="was replaced during this write"):
        await writing


async def test_it_may_be_given_up_again_while_it_ends(node: RedisNode) -> None:
    reading = asyncio.create_task(read(node))
    await asyncio.sleep(0)
    node.give_up_reads()
    await asyncio.sleep(0.02)
    assert node.reads != set()
    node.give_up_reads()
    with pytest.raises(StorageTimeout):
        await reading
