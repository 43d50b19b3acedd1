"""A real cluster of three masters, each with a replica, and a service on it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from redis.asyncio import Redis
from redis.crc import key_slot

from app.settings import Settings
from app.storage.embedded import EmbeddedNode, EmbeddedTopology, embedded_redis
from tests.conftest import DIMENSION, running_service

WAIT_S = 40.0
AGENTS = ("agent_1", "agent_2", "agent_3", "agent_8")
"""Their slots are 8474, 4473, 344 and 12339: on the second, first, first and third shard."""


@dataclass
class Cluster:
    """The running nodes and one service on them."""

    topology: EmbeddedTopology
    settings: Settings
    api: httpx.AsyncClient

    async def parts(self) -> dict[str, Any]:
        """What readiness says of each part."""
        parts: dict[str, Any] = (await self.api.get("/readyz")).json()["parts"]
        return parts

    async def owner(self, slot: int, *, but: EmbeddedNode | None = None) -> EmbeddedNode:
        """The node that has this slot, as the nodes say themselves, all `but` one that hangs."""
        for node in (node for node in self.topology.nodes if node is not but):
            async with raw(node) as redis:
                for line in (await command(redis, "CLUSTER", "NODES")).decode().splitlines():
                    if "myself,master" in line and any(
                        int(words.partition("-")[0]) <= slot <= int(words.rpartition("-")[2])
                        for words in line.split()[8:]
                        if not words.startswith("[")
                    ):
                        return node
        raise LookupError(f"nobody has slot {slot}")


def slot_of(agent_id: str) -> int:
    """The slot of an agent's memories."""
    return int(key_slot(agent_id.encode()))


@asynccontextmanager
async def raw(node: EmbeddedNode) -> AsyncIterator[Redis]:
    """A client of a node, past the service."""
    client = Redis.from_url(node.url, protocol=2)
    try:
        yield client
    finally:
        await client.aclose()


async def command(redis: Redis, *words: str | int) -> Any:
    """One command; the reply as it came."""
    return await redis.execute_command(*[str(word).encode() for word in words])  # type: ignore[no-untyped-call]


@asynccontextmanager
async def running_cluster(folder: Path, **settings: Any) -> AsyncIterator[Cluster]:
    """Three masters with a replica each, and a service on them."""
    embedded = Settings(data_dir=folder, embedded_topology="cluster", embedded_replicas=1)
    async with embedded_redis(embedded) as topology:
        chosen = Settings(
            cluster_urls=tuple(node.tcp_url for node in topology.nodes),
            dimension=DIMENSION,
            **settings,
        )
        async with running_service(chosen) as api:
            yield Cluster(topology, chosen, api)


@asynccontextmanager
async def afresh(cluster: Cluster) -> AsyncIterator[Cluster]:
    """The same, emptied, all of its nodes up, and a fresh service on it."""
    await until(lambda: is_whole(cluster))
    await empty(cluster.topology)
    async with running_service(cluster.settings) as api:
        yield replace(cluster, api=api)


async def empty(topology: EmbeddedTopology) -> None:
    """Forget everything on all masters."""
    for node in topology.nodes:
        async with raw(node) as redis:
            if (await redis.info("replication"))["role"] == "master":
                await redis.flushall()


def memory(agent_id: str, number: int) -> dict[str, Any]:
    """One memory, the same whenever it is asked for."""
    rng = np.random.default_rng([*agent_id.encode(), number])
    return {
        "id": f"m{number}",
        "agent_id": agent_id,
        "product_id": "p",
        "regime": "r",
        "state_vector": [float(x) for x in rng.normal(size=DIMENSION)],
    }


async def fill(api: httpx.AsyncClient, each: int = 10) -> None:
    """So many memories of each agent."""
    batch = [memory(agent_id, number) for number in range(each) for agent_id in AGENTS]
    answer = (await api.post("/v1/episodic/batch", json={"memories": batch})).json()
    assert answer["created"] == len(batch)
    assert [result["id"] for result in answer["results"]] == [item["id"] for item in batch]


async def search(api: httpx.AsyncClient, agent_id: str, **more: Any) -> dict[str, Any]:
    """The answer, or what was refused."""
    body = {"agent_id": agent_id, "state_vector": memory(agent_id, 0)["state_vector"]} | more
    found: dict[str, Any] = (await api.post("/v1/episodic/search", json=body)).json()
    return found


async def is_whole(cluster: Cluster) -> bool:
    """Whether all parts are well."""
    parts = await cluster.parts()
    return all(part["status"] == "ok" for part in parts.values())


async def process_id(node: EmbeddedNode) -> int:
    """Of the node's Redis."""
    async with raw(node) as redis:
        return int((await redis.info("server"))["process_id"])


@contextmanager
def paused(process: int) -> Iterator[None]:
    """It hangs meanwhile."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


class Migration:
    """Moves a slot as `redis-cli --cluster reshard` does, in steps that a test takes."""

    def __init__(self, slot: int, source: EmbeddedNode, target: EmbeddedNode) -> None:
        self.slot = slot
        self.source = source
        self.target = target

    async def begin(self) -> None:
        """From now on the slot is on its way."""
        async with raw(self.source) as source, raw(self.target) as target:
            source_id = (await command(source, "CLUSTER", "MYID")).decode()
            target_id = (await command(target, "CLUSTER", "MYID")).decode()
            await command(target, "CLUSTER", "SETSLOT", self.slot, "IMPORTING", source_id)
            await command(source, "CLUSTER", "SETSLOT", self.slot, "MIGRATING", target_id)

    async def move(self, count: int) -> int:
        """Move so many keys; how many there were."""
        async with raw(self.source) as source:
            keys = await command(source, "CLUSTER", "GETKEYSINSLOT", self.slot, count)
            if keys:
                await source.execute_command(  # type: ignore[no-untyped-call]
                    *("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "KEYS", *keys)
                )
            return len(keys)

    async def finish(self) -> None:
        """Move the rest and let everyone know."""
        while await self.move(100):
            pass
        async with raw(self.source) as source, raw(self.target) as target:
            target_id = (await command(target, "CLUSTER", "MYID")).decode()
            for redis in (target, source):
                await command(redis, "CLUSTER", "SETSLOT", self.slot, "NODE", target_id)


async def until(condition: Any) -> None:
    """Wait until this coroutine function says so."""
    async with asyncio.timeout(WAIT_S):
        while not await condition():
            await asyncio.sleep(0.05)
