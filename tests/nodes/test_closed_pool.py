"""A client that is closed stays closed: nothing of it is left open, whatever was under way."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
import redis.exceptions as foreign
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from app.embedded import EmbeddedNode
from app.nodes.client import Client, create_redis
from app.nodes.node import RedisNode
from app.nodes.sentinel import Sentinels
from app.settings import Settings

NAME = "closed-pool"
GIVE_UP_S = 60

Make = Callable[[], Client]


@pytest.fixture(params=["url", "tcp_url"])
async def make(
    request: pytest.FixtureRequest, redis_node: EmbeddedNode, settings: Settings
) -> AsyncIterator[Make]:
    """Returns a client of the run's Redis."""
    made: list[Client] = []

    def one() -> Client:
        url = getattr(redis_node, request.param)
        made.append(create_redis(url, client_name=NAME, settings=settings))
        return made[-1]

    yield one
    for client in made:
        await client.aclose()


async def _open(redis: Redis) -> int:
    return sum(one["name"] == NAME for one in await redis.client_list())


async def _until_open(redis: Redis, count: int) -> None:
    async with asyncio.timeout(GIVE_UP_S):
        while await _open(redis) != count:
            await asyncio.sleep(0.01)


def _waiting(client: Client) -> asyncio.Future[object]:
    return asyncio.ensure_future(client.blpop(["nothing"], timeout=GIVE_UP_S * 2))


async def test_a_command_in_progress_does_not_connect_again(make: Make, redis: Redis) -> None:
    client = make()
    waiting = _waiting(client)
    await _until_open(redis, 1)
    await client.aclose()
    async with asyncio.timeout(GIVE_UP_S):
        with pytest.raises(foreign.ConnectionError):
            await waiting
    await _until_open(redis, 0)


async def _hear(subscription: PubSub) -> None:
    async with asyncio.timeout(GIVE_UP_S):
        while True:
            await subscription.get_message(timeout=1)


async def test_a_subscription_does_not_connect_again(make: Make, redis: Redis) -> None:
    client = make()
    async with client.pubsub() as subscription:
        await subscription.subscribe("nothing")
        await _until_open(redis, 1)
        await client.aclose()
        with pytest.raises(foreign.ConnectionError):
            await _hear(subscription)
    await _until_open(redis, 0)


@pytest.mark.parametrize("turns", range(12))
async def test_a_connection_being_made_is_closed(make: Make, redis: Redis, turns: int) -> None:
    client = make()
    waiting = _waiting(client)
    for _ in range(turns):
        await asyncio.sleep(0)
    await client.aclose()
    async with asyncio.timeout(GIVE_UP_S):
        with pytest.raises(foreign.ConnectionError):
            await waiting
    await _until_open(redis, 0)


async def test_a_later_command_is_refused(make: Make, redis: Redis) -> None:
    client = make()
    await client.ping()
    await client.aclose()
    with pytest.raises(foreign.ConnectionError, match="closed its connections"):
        await client.ping()
    await _until_open(redis, 0)


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancelled_close_closes_all(make: Make, redis: Redis, turns: int) -> None:
    clients = [make() for _ in range(3)]
    node = RedisNode("n", client=clients[0], waiting=clients[1], probe=clients[2], is_master=True)
    waiting = [_waiting(client) for client in clients for _ in range(2)]
    await _until_open(redis, len(waiting))
    closing = asyncio.create_task(node.aclose())
    for _ in range(turns + 1):
        await asyncio.sleep(0)
    closing.cancel()
    with suppress(asyncio.CancelledError):
        await closing
    async with asyncio.timeout(GIVE_UP_S):
        await asyncio.gather(*waiting, return_exceptions=True)
    await _until_open(redis, 0)


async def test_a_view_that_is_given_up_asks_nobody_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service may end while a Sentinel keeps silent."""
    monkeypatch.setattr("app.nodes.sentinel.ASK_TIMEOUT_S", 10 * GIVE_UP_S)
    patient = Settings(redis_read_timeout_s=10 * GIVE_UP_S)
    asked = 0

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sentinels = Sentinels([f"redis://127.0.0.1:{port}"], "m", patient)
    try:
        view = asyncio.create_task(sentinels.view())
        while not asked:
            await asyncio.sleep(0.01)
        assert _questions() == 1
        view.cancel()
        with suppress(asyncio.CancelledError):
            await view
        await sentinels.aclose()
        async with asyncio.timeout(GIVE_UP_S):
            while _questions():
                await asyncio.sleep(0.01)
        assert asked == 1
    finally:
        await sentinels.aclose()
        server.close()


def _questions() -> int:
    return sum("Sentinels._ask()" in repr(task) for task in asyncio.all_tasks())
