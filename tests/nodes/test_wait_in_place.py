"""A request that is alone waits for its replies in place: faster, and otherwise the same."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

import pytest
import redis.exceptions as foreign
from redis.asyncio import Redis

from app.context import note_alone
from app.nodes.commands import Words, pack
from app.nodes.shared_connection import CALLS_AFTER_LONG_WAIT, SharedConnection
from app.server.uvicorn_server import ALONE_AFTER, BoundedHttp, BoundedHttpProtocol
from app.settings import Settings

Answering = Callable[[socket.socket, int], None]
"""Called for each connection in a thread of its own, because the event loop stands still."""

MANY = 50 * CALLS_AFTER_LONG_WAIT


@pytest.fixture(autouse=True)
def _alone() -> None:
    note_alone()


async def _no_handshake(_: object) -> None:
    """The stand-in has no name and no password."""


@asynccontextmanager
async def connected_to(
    answering: Answering, *, read_timeout_s: float = 5
) -> AsyncIterator[SharedConnection]:
    """A connection to a stand-in for Redis that does as it is told."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):  # the listener is closed
            for number in count(1):
                connection, _ = listener.accept()
                with connection:
                    answering(connection, number)

    thread = threading.Thread(target=serve)
    thread.start()
    client = Redis(port=listener.getsockname()[1], redis_connect_func=_no_handshake)
    shared = SharedConnection(client, read_timeout_s=read_timeout_s)
    try:
        await shared.open()
        yield shared
    finally:
        await shared.aclose()
        await client.aclose()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        await asyncio.to_thread(thread.join)


async def ask(shared: SharedConnection, *commands: Words) -> list[Any]:
    return await shared.ask([pack(words) for words in commands])


def in_place(shared: SharedConnection, *commands: Words) -> list[Any] | None:
    """Ask without an event loop. None if the call would have to wait for it."""
    call = ask(shared, *commands)
    try:
        call.send(None)
    except StopIteration as done:
        replies: list[Any] = done.value
        return replies
    call.close()
    return None


async def test_replies_come_without_the_event_loop(redis: Redis) -> None:
    shared = SharedConnection(redis, read_timeout_s=5)
    await shared.open()
    for _ in range(MANY):  # on a busy machine Redis may take longer than the wait
        found = in_place(shared, ("ECHO", "a"), ("NONSENSE",))
        if found is not None:
            break
        await ask(shared, ("PING",))
    assert found is not None
    assert found[0] == b"a"
    assert isinstance(found[1], foreign.ResponseError)
    await shared.aclose()


async def test_other_calls_wait_for_the_event_loop(redis: Redis) -> None:
    shared = SharedConnection(redis, read_timeout_s=5)
    await shared.open()
    waiting = asyncio.create_task(ask(shared, ("BLPOP", "nothing", "1")))
    while not waiting.done():
        await asyncio.sleep(0.01)
        if not waiting.done():
            assert in_place(shared, ("ECHO", "second")) is None
            break
    assert await ask(shared, ("ECHO", "third")) == [b"third"]
    assert await waiting == [None]
    await shared.aclose()


async def test_a_reply_in_pieces_is_read_whole() -> None:
    is_waiting = threading.Event()

    def answer_in_pieces(connection: socket.socket, _: int) -> None:
        while received := connection.recv(1000):
            for _ in range(received.count(b"GET")):
                connection.sendall(b"$5\r\nhe")
                is_waiting.wait(10)
                connection.sendall(b"llo\r\n")

    async with connected_to(answer_in_pieces) as shared:
        calls = [asyncio.create_task(ask(shared, ("GET", "a"))) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert not any(call.done() for call in calls)
        is_waiting.set()
        assert await calls[0] == [b"hello"]
        assert await calls[1] == [b"hello"]


async def test_a_connection_that_is_lost_meanwhile_is_made_again() -> None:
    asked: list[int] = []

    def hang_up_first(connection: socket.socket, number: int) -> None:
        while connection.recv(1000):
            asked.append(number)
            if number == 1:
                return
            connection.sendall(b"+fine\r\n")

    async with connected_to(hang_up_first) as shared:
        assert await ask(shared, ("PING",)) == [b"fine"]
        assert await ask(shared, ("PING",)) == [b"fine"]
        assert shared.opened == 2
    assert asked == [1, 2, 2]


async def test_what_is_no_reply_closes_the_connection() -> None:
    def babble(connection: socket.socket, _: int) -> None:
        connection.recv(1000)
        connection.sendall(b"what?\r\n")
        connection.recv(1000)

    async with connected_to(babble) as shared:
        with pytest.raises(foreign.ConnectionError):
            await ask(shared, ("PING",))
        assert not shared.is_open


async def test_silence_is_an_error_after_its_time() -> None:
    def say_nothing(connection: socket.socket, _: int) -> None:
        while connection.recv(1000):
            pass

    async with connected_to(say_nothing, read_timeout_s=0.05) as shared:
        with pytest.raises(foreign.TimeoutError):
            await ask(shared, ("PING",))
        assert not shared.is_open


async def test_a_call_that_is_given_up_leaves_its_reply_to_nobody() -> None:
    may_answer = threading.Event()

    def answer_late(connection: socket.socket, _: int) -> None:
        number = 0
        while received := connection.recv(1000):
            may_answer.wait(10)
            for _ in range(received.count(b"INCR")):
                number += 1
                connection.sendall(b":%d\r\n" % number)

    async with connected_to(answer_late) as shared:
        given_up = asyncio.create_task(ask(shared, ("INCR", "a")))
        await asyncio.sleep(0.01)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        may_answer.set()
        assert await ask(shared, ("INCR", "a")) == [2]


def test_a_request_is_alone_after_others_over_its_connection(settings: Settings) -> None:
    owner = BoundedHttp(settings)
    one, other = (object.__new__(BoundedHttpProtocol) for _ in range(2))
    assert [owner.is_alone(one) for _ in range(ALONE_AFTER + 1)] == [False] * ALONE_AFTER + [True]
    assert not owner.is_alone(other)
    assert not owner.is_alone(one)
