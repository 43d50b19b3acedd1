"""What a node and its indexes say of themselves."""

from collections.abc import Mapping

from redis.asyncio import Redis

from app.errors import StorageLoading
from app.storage.client import execute
from app.storage.index import Indexes
from app.storage.redis_errors import translated


async def describe_node(node: Redis) -> Mapping[str, object]:
    """Role, address and load of a node, never its password. Raises StorageError."""
    with translated():
        info = await node.info("server", "replication", "memory", "persistence")
    if info.get("loading"):
        raise StorageLoading("Redis is loading its data: wait until it is done.")
    return {
        "role": info["role"],
        "address": f"{_host(node)}:{info['tcp_port']}",
        "redis_version": info["redis_version"],
        "used_memory_bytes": info["used_memory"],
        "maxmemory_bytes": info["maxmemory"],
        "process_id": info["process_id"],
    }


def _host(node: Redis) -> str:
    return str(node.connection_pool.connection_kwargs.get("host", "127.0.0.1"))


async def describe_indexes(node: Redis, indexes: Indexes) -> Mapping[str, object]:
    """How many indexes there are, and the layout. Raises StorageError."""
    with translated():
        names = await execute(node, "FT._LIST")
    return {"layout": indexes.layout, "dimension": indexes.dimension, "indexes": len(names)}
