"""A real master and two replicas whose nodes a test kills, pauses and starts again."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from redis.asyncio import Redis

from app.embedded import EmbeddedTopology, embedded_redis
from app.settings import Settings
from tests.conftest import DIMENSION, running_service

WAIT_S = 90.0


@dataclass
class ReplicaSet:
    """The running nodes and one service on them."""

    topology: EmbeddedTopology
    settings: Settings
    api: httpx.AsyncClient

    async def parts(self) -> dict[str, Any]:
        """What readiness says of each part."""
        parts: dict[str, Any] = (await self.api.get("/readyz")).json()["parts"]
        return parts

    async def process_id(self, name: str) -> int:
        """The redis-server of a node, as readiness names it."""
        return int((await self.parts())[name]["process_id"])

    async def signal(self, name: str, how: signal.Signals) -> int:
        """Send a signal to a node's redis-server; its process id."""
        process_id = await self.process_id(name)
        os.kill(process_id, how)
        return process_id

    def end_for_good(self, number: int) -> None:
        """End a node (0: the master) together with the guard that would start it again."""
        node = (self.topology.master, *self.topology.replicas)[number]
        node.process.kill()

    async def until_part(self, name: str, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until readiness says this of a part."""
        async with asyncio.timeout(WAIT_S):
            while not condition((await self.parts()).get(name, {})):
                await asyncio.sleep(0.02)

    async def until_started_again(self, name: str, process_id: int) -> None:
        """Wait until another process than this one gets the node's reads."""
        await self.until_part(
            name, lambda p: p["status"] == "ok" and p.get("process_id") != process_id
        )

    async def until_in_rotation(self, *names: str) -> None:
        """Wait until these nodes get reads."""
        for name in names:
            await self.until_part(name, lambda part: part["status"] == "ok")


@asynccontextmanager
async def replica_set(folder: Path, **settings: Any) -> AsyncIterator[ReplicaSet]:
    """A master, two replicas and a service that sends reads to them."""
    embedded = Settings(data_dir=folder, embedded_replicas=2, dimension=DIMENSION)
    async with embedded_redis(embedded) as topology:
        # Redis, not a path: the tests' own settings decide what the service is told.
        chosen = Settings(
            redis_url=topology.master.url,
            replica_urls=tuple(node.url for node in topology.replicas),
            dimension=DIMENSION,
            **settings,
        )
        async with running_service(chosen) as api:
            nodes = ReplicaSet(topology, chosen, api)
            await nodes.until_in_rotation("replica-1", "replica-2")
            yield nodes


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[Redis]:
    """A client of a node, past the service."""
    client = Redis.from_url(url, protocol=2)
    try:
        yield client
    finally:
        await client.aclose()
