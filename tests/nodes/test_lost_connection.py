"""A connection that was lost a moment ago is an error of redis-py's, however the loop says it."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
import redis.exceptions as foreign

from app.embedded import EmbeddedNode
from app.errors import StorageUnavailable
from app.nodes.client import create_redis
from app.nodes.commands import ask_one
from app.settings import Settings


class _Closed:
    """As uvloop's transport behaves once the other side has closed the connection."""

    def writelines(self, lines: Iterable[bytes]) -> None:
        """Refuse."""
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>")

    def close(self) -> None:
        """Nothing is left to close."""

    async def wait_closed(self) -> None:
        """Nor to wait for."""


@pytest.mark.parametrize("address", ["url", "tcp_url"])
async def test_closed_transport_is_a_connection_error(
    redis_node: EmbeddedNode, settings: Settings, address: str
) -> None:
    client = create_redis(getattr(redis_node, address), client_name="test", settings=settings)
    connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    try:
        await connection.connect()
        connection._writer.close()
        connection._writer = _Closed()
        with pytest.raises(foreign.ConnectionError, match="closed=True"):
            await connection.send_command("PING", check_health=False)
    finally:
        await connection.disconnect()
        await client.aclose()


async def test_a_node_that_answers_nothing_is_given_up(tmp_path: Path, settings: Settings) -> None:
    """After a connection and one more try, whatever a connection begins with."""
    connected: list[asyncio.StreamWriter] = []

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)

    path = tmp_path / "silent.sock"
    impatient = settings.model_copy(update={"redis_read_timeout_s": 0.05})
    async with await asyncio.start_unix_server(accept, path):
        client = create_redis(f"unix://{path}", client_name="test", settings=impatient)
        try:
            async with asyncio.timeout(60):
                with pytest.raises(StorageUnavailable):
                    await ask_one(client, "INFO")
        finally:
            await client.aclose()
            for writer in connected:
                writer.close()
    assert len(connected) == 2
