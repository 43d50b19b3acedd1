"""One connection to a node that all searches share: whole batches in, replies out in order.

With a pooled connection and a pipeline object, a single client's search takes about 40 us more
processor time (docs/benchmarks/hotpath.md). Here a round trip is one write and one future. Several
can be in flight at once; the replies of one that was given up are dropped.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import hiredis
import redis.exceptions as foreign
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, DefaultParser


class SharedConnection:
    """Connects on first use, and again after the connection was lost.

    The node's pool says how to connect: address, password, TLS. `read_timeout_s` is the longest
    allowed silence of a node that owes replies.
    """

    def __init__(self, node: Redis, *, read_timeout_s: float) -> None:
        self._node = node
        self._read_timeout_s = read_timeout_s
        self._connecting = asyncio.Lock()
        self._wire: _Wire | None = None
        self._is_closed = False
        self.opened = 0
        """How many times it was opened. Behind a new connection there may be a new process."""

    @property
    def is_open(self) -> bool:
        """Return whether the connection is open."""
        return self._wire is not None and self._wire.is_open

    async def ask(self, commands: Sequence[bytes]) -> list[Any]:
        """Return the reply to each command, in order; a refused one has redis-py's error in its
        place.

        The commands, in Redis's protocol already, must be repeatable: a connection may have died
        unnoticed while Redis is long back, so they are sent once more if it is lost. Raise
        redis-py's ConnectionError or TimeoutError.
        """
        packed = b"".join(commands)
        wire = self._wire
        if wire is not None and wire.is_open:
            try:
                return await wire.ask(packed, len(commands))
            except foreign.ConnectionError:
                pass
        return await (await self._connected()).ask(packed, len(commands))

    async def open(self) -> None:
        """Connect, unless it is open. Raise redis-py's ConnectionError or TimeoutError."""
        if not self.is_open:
            await self._connected()

    async def aclose(self) -> None:
        """Close the connection for good. Callers waiting for a reply get an error."""
        self._is_closed = True
        if self._wire is not None:
            self._wire.lose(_closed())
            await self._drop_lost()

    async def _connected(self) -> "_Wire":
        async with self._connecting:
            self._refuse_if_closed()
            if self._wire is None or not self._wire.is_open:
                await self._drop_lost()
                pool = self._node.connection_pool
                connection = pool.make_connection()  # type: ignore[no-untyped-call]
                try:
                    await connection.connect()
                    self._refuse_if_closed()  # it may have been while this one was opened
                except BaseException:
                    await connection.disconnect(nowait=True)
                    raise
                self._wire = _Wire(connection, self._read_timeout_s)
                self.opened += 1
            return self._wire

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise _closed()

    async def _drop_lost(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.connection.disconnect(nowait=True)


def _closed() -> foreign.ConnectionError:
    return foreign.ConnectionError("The service closed the connection.")


class _Wire(asyncio.Protocol):
    """Takes over a connection that redis-py has opened, and reads its replies itself.

    Writing needs no backpressure, because the batcher limits what is in flight.
    """

    def __init__(self, connection: AbstractConnection, read_timeout_s: float) -> None:
        self.connection = connection
        self.is_open = True
        self._read_timeout_s = read_timeout_s
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=foreign.InvalidResponse, replyError=DefaultParser.parse_error
        )
        self._due: deque[tuple[asyncio.Future[list[Any]], int]] = deque()
        self._replies: list[Any] = []
        self._heard_at_s = 0.0
        self._watch: asyncio.TimerHandle | None = None
        writer = connection._writer  # redis-py has no public way to the socket that it opened
        assert writer is not None
        self._transport = writer.transport
        self._before = self._transport.get_protocol()
        self._transport.set_protocol(self)

    def ask(self, packed: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Send packed commands. Return what their `count` replies will be set to."""
        if not self._due:
            self._heard_at_s = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_later(self._read_timeout_s, self._look)
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._due.append((future, count))
        self._transport.write(packed)
        return future

    def lose(self, error: Exception) -> None:
        """Close the connection, and give this error to everyone waiting."""
        self.is_open = False
        if self._watch is not None:
            self._watch.cancel()
        for future, _ in self._due:
            if not future.done():
                future.set_exception(error)
        self._due.clear()
        self._transport.close()

    # --- called by asyncio ---------------------------------------------------------------------
    def data_received(self, data: bytes) -> None:
        """Hand the replies to those waiting for them, oldest first."""
        self._heard_at_s = self._loop.time()
        self._reader.feed(data)
        try:
            while self._due:
                future, count = self._due[0]
                while len(self._replies) < count:
                    reply = self._reader.gets()
                    if reply is False:
                        return
                    self._replies.append(reply)
                self._due.popleft()
                replies, self._replies = self._replies, []
                if not future.done():  # its caller has left
                    future.set_result(replies)
        except foreign.InvalidResponse as error:
            self.lose(foreign.ConnectionError(f"Redis sent an invalid reply: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Give an error to everyone waiting: one side closed the connection."""
        self.lose(foreign.ConnectionError(f"The connection was closed: {exc or 'by Redis'}."))
        self._before.connection_lost(exc)

    def _look(self) -> None:
        """Check for a silence that is too long, with one timer for all round trips."""
        self._watch = None
        if not self._due:
            return
        left_s = self._heard_at_s + self._read_timeout_s - self._loop.time()
        if left_s <= 0:
            self.lose(foreign.TimeoutError("Redis did not answer in time."))
        else:
            self._watch = self._loop.call_later(left_s, self._look)
