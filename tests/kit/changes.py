"""The pushes of writes, which end what services have cached."""

import asyncio

from redis.asyncio import Redis

from app.nodes.changes import CHANNEL
from app.nodes.client import execute
from tests.kit.fakes import turned


async def delivered(redis: Redis) -> None:
    """Return when a message published now would have reached every listener before us."""
    listener = redis.pubsub()
    await listener.subscribe(CHANNEL)
    await execute(redis, "PUBLISH", CHANNEL, "episodic_partition:{nobody}")
    async with asyncio.timeout(60):
        while (await listener.get_message(timeout=1) or {}).get("type") != "message":
            pass
    await listener.aclose()  # type: ignore[no-untyped-call]
    await asyncio.sleep(0.02)  # what came to the services' connections is read
    await turned()
