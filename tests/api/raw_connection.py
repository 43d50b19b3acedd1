"""A connection that says exactly what a test wants, and no more."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

RECEIVE_BUFFER_BYTES = 4096


@contextmanager
def connected(client: httpx.AsyncClient, *, reads_little: bool = False) -> Iterator[socket.socket]:
    """A connection to the client's service. `reads_little`: with a small buffer for answers."""
    with socket.socket() as connection:
        if reads_little:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        connection.connect((client.base_url.host, client.base_url.port))
        connection.setblocking(False)
        yield connection


async def read_all(connection: socket.socket, within_s: float = 60.0) -> bytes:
    """What comes until the service closes. Raises TimeoutError when it does not."""
    received = b""
    async with asyncio.timeout(within_s):
        while True:
            try:
                part = await asyncio.get_running_loop().sock_recv(connection, 65_536)
            except ConnectionResetError:
                return received
            if not part:
                return received
            received += part


async def answer_to(client: httpx.AsyncClient, request: bytes) -> bytes:
    """The whole answer to these bytes, until the service closes."""
    with connected(client) as connection:
        await asyncio.get_running_loop().sock_sendall(connection, request)
        return await read_all(connection)
