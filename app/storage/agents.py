"""Which agents there are."""

from redis.asyncio import Redis

from app.storage import keys
from app.storage.client import execute
from app.storage.redis_errors import translated


async def all_agents(node: Redis) -> list[str]:
    """All agents that ever stored a memory, sorted. Raises StorageError."""
    with translated():
        names = await execute(node, "SMEMBERS", keys.AGENTS)
    return sorted(name.decode() for name in names)
