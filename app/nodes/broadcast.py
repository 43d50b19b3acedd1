"""Short messages to all processes of all services on this Redis, by pub/sub.

Messages that nobody receives are lost: https://redis.io/docs/latest/develop/interact/pubsub/
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import redis.exceptions as foreign

from app.errors import StorageUnavailable
from app.nodes.commands import ask_one
from app.nodes.jobs import Job, running
from app.nodes.node import RedisNode
from app.nodes.shard import Shard

logger = logging.getLogger(__name__)

LOOK_S = 0.25
PING_AFTER_S = 5.0
RECONNECT_PAUSE_S = 0.5


class Broadcast:
    """A channel on one shard's master. Its name's prefix is one that the service may use."""

    def __init__(self, shard: Shard, name: str) -> None:
        self._shard = shard
        self._channel = f"memory_changes:{name}"
        self._job = f"listening for {name}"

    async def listeners(self) -> int:
        """Return how many connections listen. Raise StorageError."""
        reply = await ask_one(self._shard.master.client, "PUBSUB", "NUMSUB", self._channel)
        return int(reply[1])

    async def send(self, message: bytes) -> None:
        """Send to all listeners. Raise StorageError."""
        await ask_one(self._shard.master.client, "PUBLISH", self._channel, message)

    @asynccontextmanager
    async def listening(self, heard: Callable[[bytes], None]) -> AsyncIterator[None]:
        """Pass each message to `heard` while the context is open, and reconnect after a failure."""

        async def listen_for_ever(job: Job) -> None:
            while True:
                try:
                    await self._listen(self._shard.master, heard, job)
                except (foreign.RedisError, OSError, StorageUnavailable) as error:
                    job.failed(error)
                    logger.warning("%s: lost", self._job, extra={"cause": repr(error)})
                await asyncio.sleep(RECONNECT_PAUSE_S)

        async with running(listen_for_ever, self._job):
            yield

    async def _listen(self, master: RedisNode, heard: Callable[[bytes], None], job: Job) -> None:
        """Listen until another node is the master, or the connection is lost."""
        async with master.probe.pubsub() as subscription:
            await subscription.subscribe(self._channel)
            waited_s = 0.0
            while self._shard.master is master:
                message = await subscription.get_message(timeout=LOOK_S)
                if message is None:
                    waited_s += LOOK_S
                    if waited_s >= PING_AFTER_S:
                        await subscription.ping()
                        waited_s = 0.0
                    continue
                job.succeeded()
                if message["type"] == "message" and message["data"]:
                    heard(message["data"])
