"""A master that comes back with less than it had, before it is missed, does not spread that."""

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import redis.exceptions as foreign

from app.embedded import EmbeddedNode
from tests.conftest import DIMENSION
from tests.kit.replica_set import ReplicaSet, raw
from tests.kit.sentinel_set import NEVER_MS, SOON_MS, fail_over_after, sentinel_set

AGENT = "agent_1"
EACH = 40
WAIT_S = 90.0

Harm = Callable[[Path], None]


def lose_the_disk(folder: Path) -> None:
    shutil.rmtree(folder / "appendonlydir")


def lose_the_end(folder: Path) -> None:
    """As a kill does, when Redis held the last writes back while it flushed."""
    (path,) = (folder / "appendonlydir").glob("*.incr.aof")
    os.truncate(path, path.stat().st_size // 2)


async def store(api: httpx.AsyncClient, first: int) -> None:
    """Memories that at least one replica has."""
    for number in range(first, first + EACH):
        body = {
            "id": f"m{number}",
            "agent_id": AGENT,
            "product_id": "p",
            "regime": "r",
            "state_vector": [1.0, float(number), *[0.0] * (DIMENSION - 2)],
        }
        answer = await api.post("/v1/episodic", json=body, headers={"X-Durability": "replicated"})
        assert answer.status_code == 201, answer.text


async def found(api: httpx.AsyncClient) -> set[str]:
    """What a search finds, as soon as there is a master to answer it."""
    body = {
        "agent_id": AGENT,
        "state_vector": [1.0] * DIMENSION,
        "top_k": 1000,
        "consistency": "strong",
    }
    async with asyncio.timeout(WAIT_S):
        while (answer := await api.post("/v1/episodic/search", json=body)).status_code != 200:
            await asyncio.sleep(0.1)
    return {hit["id"] for hit in answer.json()["memories"]}


@contextmanager
def not_started_again(node: EmbeddedNode) -> Iterator[None]:
    """Its guard is busy elsewhere while its files are changed."""
    os.kill(node.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(node.process.pid, signal.SIGCONT)


async def info(node: EmbeddedNode, section: str) -> dict[str, Any]:
    async with raw(node.tcp_url) as redis:
        return dict(await redis.info(section))


async def harm_the_master(
    node: EmbeddedNode, folder: Path, harm: Harm, postpone: Callable[[bool], Awaitable[None]]
) -> None:
    """Kill it and have it come back with less, before anybody may replace it; then somebody may."""
    log = folder / "redis.log"
    said = log.stat().st_size
    server = int((await info(node, "server"))["process_id"])
    await postpone(True)
    with not_started_again(node):
        os.kill(server, signal.SIGKILL)
        harm(folder)
    async with asyncio.timeout(WAIT_S):
        while "waits until a replica replaces it" not in log.read_text()[said:]:
            with suppress(foreign.RedisError, OSError):
                if (await info(node, "replication"))["connected_slaves"]:
                    break  # it is followed again
            await asyncio.sleep(0.05)
    await postpone(False)


async def until_all_follow(nodes: tuple[EmbeddedNode, ...], masters: int) -> None:
    """Every node is up, and the replicas are in step."""
    async with asyncio.timeout(WAIT_S):
        while True:
            with suppress(foreign.RedisError, OSError):
                said = [await info(node, "replication") for node in nodes]
                links = [one.get("master_link_status") for one in said if one["role"] == "slave"]
                if links == ["up"] * (len(nodes) - masters):
                    return
            await asyncio.sleep(0.1)


async def test_master_that_sentinels_watch(tmp_path: Path) -> None:
    async with sentinel_set(tmp_path) as nodes:
        expected: set[str] = set()
        for first, harm in enumerate((lose_the_end, lose_the_disk)):
            await store(nodes.api, first * EACH)
            expected |= {f"m{number}" for number in range(first * EACH, (first + 1) * EACH)}
            master = await master_of(nodes)
            await harm_the_master(master, tmp_path / master.name, harm, postponing(nodes))
            await until_all_follow(nodes.topology.nodes, masters=1)
            await fail_over_after(nodes.topology, NEVER_MS)
            assert await found(nodes.api) == expected
            assert await master_of(nodes) != master
        for node in nodes.topology.nodes:  # each may be promoted again
            async with raw(node.tcp_url) as redis:
                async with asyncio.timeout(WAIT_S):
                    while (await redis.config_get("replica-priority"))["replica-priority"] != "100":
                        await asyncio.sleep(0.05)


async def master_of(nodes: ReplicaSet) -> EmbeddedNode:
    await nodes.until_in_rotation("master", "replica-1", "replica-2")
    port = int((await nodes.parts())["master"]["address"].rpartition(":")[2])
    return next(node for node in nodes.topology.nodes if node.port == port)


def postponing(nodes: ReplicaSet) -> Callable[[bool], Awaitable[None]]:
    async def postpone(is_postponed: bool) -> None:
        await fail_over_after(nodes.topology, NEVER_MS if is_postponed else SOON_MS)

    return postpone
