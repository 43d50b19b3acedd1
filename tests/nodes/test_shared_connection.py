"""One connection for all searches: each gets its own replies, whatever becomes of the others."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.exceptions as foreign
from redis.asyncio import Redis

from app.nodes.commands import Words, pack
from app.nodes.shared_connection import SharedConnection

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def shared(redis: Redis) -> AsyncIterator[SharedConnection]:
    connection = SharedConnection(redis, read_timeout_s=5)
    yield connection
    await connection.aclose()


async def _no_handshake(_: object) -> None:
    """The stand-in has no name and no password."""


@asynccontextmanager
async def connected_to(
    answering: Answering, read_timeout_s: float
) -> AsyncIterator[SharedConnection]:
    """A connection to a stand-in for Redis that does as it is told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answering(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = Redis(port=port, redis_connect_func=_no_handshake)
    shared = SharedConnection(client, read_timeout_s=read_timeout_s)
    try:
        yield shared
    finally:
        await shared.aclose()
        await client.aclose()
        server.close()


async def ask(shared: SharedConnection, commands: Sequence[Words]) -> list[Any]:
    return await shared.ask([pack(words) for words in commands])


async def test_each_round_trip_gets_its_own_replies(shared: SharedConnection) -> None:
    asked = [[("ECHO", f"{trip}-{i}") for i in range(trip)] for trip in range(1, 30)]
    replies = await asyncio.gather(*(ask(shared, commands) for commands in asked))
    assert replies == [[word.encode() for _, word in commands] for commands in asked]


async def test_refused_command_spoils_no_other(shared: SharedConnection) -> None:
    first, refused, last = await ask(shared, [("ECHO", "a"), ("NONSENSE",), ("ECHO", b"b")])
    assert (first, last) == (b"a", b"b")
    assert isinstance(refused, foreign.ResponseError)


async def test_lost_connection_is_made_again(shared: SharedConnection, redis: Redis) -> None:
    (number,) = await ask(shared, [("CLIENT", "ID")])
    await redis.client_kill_filter(_id=str(number))
    (again,) = await ask(shared, [("CLIENT", "ID")])
    assert again != number


async def test_connection_that_dies_under_a_call_is_tried_once_more() -> None:
    calls = 0

    async def hang_up_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        while await reader.read(1000):
            calls += 1
            if calls == 2:
                return
            writer.write(b"+fine\r\n")

    async with connected_to(hang_up_once, 5) as shared:
        assert await ask(shared, [("PING",)]) == [b"fine"]
        assert await ask(shared, [("PING",)]) == [b"fine"]
    assert calls == 3


async def test_silence_is_an_error_for_all_who_wait() -> None:
    async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with connected_to(say_nothing, 0.05) as shared:
        calls = [ask(shared, [("PING",)]) for _ in range(3)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [foreign.TimeoutError] * 3
        assert not shared.is_open


async def test_what_is_no_reply_closes_the_connection() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"what?\r\n")

    async with connected_to(babble, 5) as shared:
        with pytest.raises(foreign.ConnectionError):
            await ask(shared, [("PING",)])
        assert not shared.is_open


async def test_end_of_the_service_leaves_nobody_waiting() -> None:
    async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with connected_to(say_nothing, 5) as shared:
        call = asyncio.create_task(ask(shared, [("PING",)]))
        while not shared.is_open:
            await asyncio.sleep(0.001)
        await shared.aclose()
        with pytest.raises(foreign.ConnectionError):
            await call


async def test_nothing_is_connected_once_it_is_closed(redis: Redis) -> None:
    shared = SharedConnection(redis, read_timeout_s=5)
    await ask(shared, [("PING",)])
    waiting = asyncio.create_task(ask(shared, [("BLPOP", "nothing", "20")]))
    await asyncio.sleep(0)
    await shared.aclose()
    with pytest.raises(foreign.ConnectionError, match="closed"):
        await waiting
    with pytest.raises(foreign.ConnectionError, match="closed"):
        await ask(shared, [("PING",)])
    assert not shared.is_open


async def test_a_connection_being_made_is_given_up_when_it_is_closed(redis: Redis) -> None:
    shared = SharedConnection(redis, read_timeout_s=5)
    waiting = asyncio.create_task(ask(shared, [("PING",)]))
    await asyncio.sleep(0)
    await shared.aclose()
    with pytest.raises(foreign.ConnectionError, match="closed"):
        await waiting
    assert not shared.is_open
