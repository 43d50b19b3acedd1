"""A lean HTTP/1.1 client: what a request costs the generator is small beside the service's part.

httpx takes about half a millisecond of processor for a request, which would be most of what is
measured here; this takes a tenth of that. Only what the bench needs: POST, keep-alive, loopback.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

from demo.client_key import key_headers


class ConnectionLost(ConnectionError):
    """The server closed the connection before its answer was complete."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: bytes


def post_request(url: str, path: str, body: bytes) -> bytes:
    """Return the bytes of a whole POST request with a JSON body."""
    key = "".join(f"{name}: {value}\r\n" for name, value in key_headers().items())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n{key}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Reply] | None = None
        self._body: list[bytes] = []

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def send(self, request: bytes) -> Reply:
        """Send a whole request and wait for its answer. Raises ConnectionLost."""
        if self._transport is None or self._waiting is not None:
            raise ConnectionLost("not connected, or busy with another request")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    # --- called by asyncio and the parser ------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Implement asyncio's callback."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Implement asyncio's callback."""
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Implement asyncio's callback."""
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionLost(str(exc or "closed by the server")))
        self._waiting = None

    def on_message_begin(self) -> None:
        """Implement the parser's callback."""
        self._body.clear()

    def on_body(self, body: bytes) -> None:
        """Implement the parser's callback."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Implement the parser's callback."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(Reply(self._parser.get_status_code(), b"".join(self._body)))


@dataclass
class ConnectionPool:
    """Keeps connections to `url`; opens one when none is free, up to `limit`."""

    url: str
    limit: int = 200
    _free: deque[Connection] = field(default_factory=deque)
    _places: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._places = asyncio.Semaphore(self.limit)

    async def open(self, count: int) -> None:
        """Have `count` connections ready."""
        self._free.extend([await self._connect() for _ in range(count)])

    async def send(self, request: bytes) -> Reply:
        """Send on a free connection. Raises OSError when there is no answer."""
        async with self._places:
            reply = await (connection := await self._take()).send(request)
            if connection.is_open:
                self._free.append(connection)
            return reply

    def close(self) -> None:
        """Close the connections that are free."""
        for connection in self._free:
            connection.close()
        self._free.clear()

    async def _take(self) -> Connection:
        """Return the connection that was idle longest; servers close those idle for too long."""
        while self._free:
            connection = self._free.popleft()
            if connection.is_open:
                return connection
        return await self._connect()

    async def _connect(self) -> Connection:
        parts = urlsplit(self.url)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            Connection, parts.hostname or "", parts.port or 80
        )
        return connection
