"""One connection to a node that all searches share: whole batches in, replies out in order.

With a pooled connection and a pipeline object a single client's search takes about 40 us more of
the processor (docs/benchmarks/hotpath.md). Here a round trip is one write and one
future; several can be under way at once, and one that is given up leaves its replies to be dropped.
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
    """Connects when it is first asked, and again when the connection was lost.

    The node's pool says how to connect: address, password, TLS. `read_timeout_s` is the longest
    silence of a node that owes replies.
    """

    def __init__(self, node: Redis, *, read_timeout_s: float) -> None:
        self._node = node
        self._read_timeout_s = read_timeout_s
        self._connecting = asyncio.Lock()
        self._wire: _Wire | None = None

    @property
    def is_open(self) -> bool:
        """Whether a connection is there."""
        return self._wire is not None and self._wire.is_open

    async def ask(self, commands: Sequence[bytes]) -> list[Any]:
        """The reply to each command, in order; redis-py's error stands in a refused one's place.

        The commands, in Redis's protocol already, must bear repeating: a connection may have died
        unseen, with Redis long back, so they are sent once more when it is lost. Raises redis-py's
        ConnectionError, TimeoutError.
        """
        packed = b"".join(commands)
        wire = self._wire
        if wire is not None and wire.is_open:
            try:
                return await wire.ask(packed, len(commands))
            except foreign.ConnectionError:
                pass
        return await (await self._connected()).ask(packed, len(commands))

    async def aclose(self) -> None:
        """Close the connection; what waits for a reply gets an error."""
        if self._wire is not None:
            self._wire.lose(foreign.ConnectionError("The service closed the connection."))
            await self._drop_lost()

    async def _connected(self) -> "_Wire":
        async with self._connecting:
            if self._wire is None or not self._wire.is_open:
                await self._drop_lost()
                pool = self._node.connection_pool
                connection = pool.make_connection()  # type: ignore[no-untyped-call]
                try:
                    await connection.connect()
                except BaseException:
                    await connection.disconnect(nowait=True)
                    raise
                self._wire = _Wire(connection, self._read_timeout_s)
            return self._wire

    async def _drop_lost(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.connection.disconnect(nowait=True)


class _Wire(asyncio.Protocol):
    """Takes a connection over when redis-py has opened it: what it sends is ours to read.

    Nothing holds back the writing: the batcher bounds what is under way.
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

    async def ask(self, packed: bytes, count: int) -> list[Any]:
        """Send commands already packed; their `count` replies."""
        if not self._due:
            self._heard_at_s = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_later(self._read_timeout_s, self._look)
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._due.append((future, count))
        self._transport.write(packed)
        return await future

    def lose(self, error: Exception) -> None:
        """The connection is of no more use: whoever waits gets this error."""
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
        """Hand the replies to those who wait for them, the oldest first."""
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
            self.lose(foreign.ConnectionError(f"Redis sent what is no reply: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has closed it, or this one."""
        self.lose(foreign.ConnectionError(f"The connection was closed: {exc or 'by Redis'}."))
        self._before.connection_lost(exc)

    def _look(self) -> None:
        """One timer for all round trips: it looks when the silence could be too long."""
        self._watch = None
        if not self._due:
            return
        left_s = self._heard_at_s + self._read_timeout_s - self._loop.time()
        if left_s <= 0:
            self.lose(foreign.TimeoutError("Redis did not answer in time."))
        else:
            self._watch = self._loop.call_later(left_s, self._look)
