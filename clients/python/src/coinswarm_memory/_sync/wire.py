"""Requests over httpx in plain functions, from any number of threads."""

import time

import httpx

from coinswarm_memory.connection import Connection, error_of, reply_of
from coinswarm_memory.forks import renew_after_fork
from coinswarm_memory.operations.request import Reply, Request

sleep = time.sleep


class Wire:
    """A pool of kept connections to one service. `transport` stands in for httpx's own."""

    def __init__(
        self, connection: Connection, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._connection = connection
        self._given = transport
        self._transport = transport or self._opened()
        renew_after_fork(self)

    def send(self, request: Request, request_id: str, timeout_s: float) -> Reply:
        """Send one request and read its whole reply. Raises ServiceUnreachable, CallTimedOut."""
        prepared = self._connection.prepared(request, request_id, timeout_s)
        try:
            response = self._transport.handle_request(prepared)
            try:
                response.read()
            finally:
                response.close()
        except httpx.TransportError as error:
            raise error_of(error, self._connection.url) from error
        return reply_of(response)

    def __reduce__(self) -> tuple[object, ...]:
        """Let copies of a client, in another process or a file, connect by themselves."""
        return type(self), (self._connection, self._given)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def after_fork(self) -> None:
        """Use connections of this process's own: the parent reads from those it had."""
        self._transport = self._given or self._opened()

    def _opened(self) -> httpx.BaseTransport:
        connection = self._connection
        return httpx.HTTPTransport(
            verify=connection.checks, limits=connection.limits, trust_env=False
        )
