"""Requests over httpx on asyncio."""

import asyncio

import httpx

from coinswarm_memory.connection import Connection, error_of, reply_of
from coinswarm_memory.errors import CallTimedOut
from coinswarm_memory.forks import renew_after_fork
from coinswarm_memory.operations.request import Reply, Request

sleep = asyncio.sleep


class AsyncWire:
    """A pool of kept connections to one service. `transport` stands in for httpx's own."""

    def __init__(
        self, connection: Connection, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._connection = connection
        self._given = transport
        # httpcore scans all requests that wait for a connection, so its queue is kept empty.
        self._places = asyncio.Semaphore(connection.max_connections)
        self._transport = transport or self._opened()
        renew_after_fork(self)

    async def send(self, request: Request, request_id: str, timeout_s: float) -> Reply:
        """Send one request and read its whole reply. Raises ServiceUnreachable, CallTimedOut."""
        prepared = self._connection.prepared(request, request_id, timeout_s)
        try:
            async with asyncio.timeout(timeout_s), self._places:
                response = await self._transport.handle_async_request(prepared)
                try:
                    await response.aread()
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise CallTimedOut(
                f"No reply from {self._connection.url} within {timeout_s:.3g} s: allow more by "
                "timeout_s."
            ) from error
        except httpx.TransportError as error:
            raise error_of(error, self._connection.url) from error
        return reply_of(response)

    def __reduce__(self) -> tuple[object, ...]:
        """Let copies of a client, in another process or a file, connect by themselves."""
        return type(self), (self._connection, self._given)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    def after_fork(self) -> None:
        """Use connections of this process's own: the parent reads from those it had."""
        self._places = asyncio.Semaphore(self._connection.max_connections)
        self._transport = self._given or self._opened()

    def _opened(self) -> httpx.AsyncBaseTransport:
        connection = self._connection
        return httpx.AsyncHTTPTransport(
            verify=connection.checks, limits=connection.limits, trust_env=False
        )
