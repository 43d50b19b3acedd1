"""A connection that was lost a moment ago is an error of redis-py's, however the loop says it."""

from collections.abc import Iterable

import pytest
import redis.exceptions as foreign

from app.embedded import EmbeddedNode
from app.nodes.client import create_redis
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
