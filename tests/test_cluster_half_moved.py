"""A slot on its way, half of its keys gone, when its master hangs: the rest answers nobody.

The master that gives the slot knows of the move, and so does the one that takes it. A replica knows
nothing, and as the new master it has a part and takes it for the whole.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest

from app.storage.embedded import EmbeddedNode
from tests.cluster import (
    Cluster,
    Migration,
    afresh,
    command,
    fill,
    is_whole,
    memory,
    paused,
    process_id,
    raw,
    running_cluster,
    search,
    slot_of,
    until,
)
from tests.commands.app_process import run_app
from tests.conftest import DIMENSION, running_service

LEAVING, STAYING, ELSEWHERE = "agent_2", "agent_3", "agent_8"
"""The first two are on one shard; the first one's slot goes to that of the third."""
HAD, LEFT = 10, 6


@pytest.fixture(scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """One cluster for all tests here; the cache is off, so that nodes answer."""
    async with running_cluster(tmp_path_factory.mktemp("cluster"), cache_enabled=False) as cluster:
        yield cluster


@pytest.fixture
async def cluster(started: Cluster) -> AsyncIterator[Cluster]:
    """The cluster, all of its nodes up, with memories, and a fresh service on it."""
    async with afresh(started) as fresh:
        await fill(fresh.api, each=HAD)
        yield fresh


@asynccontextmanager
async def that_looks_rarely(cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    """A service that hears of nothing by itself."""
    rare = cluster.settings.model_copy(update={"node_poll_interval_ms": 3_600_000})
    async with running_service(rare) as api:
        yield api


class Asking:
    """Questions about the memory that is on its way, without pause, of these services."""

    def __init__(self, *services: httpx.AsyncClient) -> None:
        self.wrong: list[str] = []
        self._services = services
        self._counts: dict[str, int] = {}

    async def __aenter__(self) -> "Asking":
        kinds = (self._search, self._search_all, self._query, self._fetch)
        self._tasks = [
            asyncio.create_task(self._go_on(f"{kind.__name__} {number}", kind, api))
            for number, api in enumerate(self._services)
            for kind in kinds
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def each_again(self) -> None:
        """Until all have had an outcome of what was asked from now on."""
        before = dict(self._counts)
        async with asyncio.timeout(60):
            while any(self._counts[name] < count + 2 for name, count in before.items()):
                await asyncio.sleep(0.02)

    async def _go_on(self, name: str, kind: Any, api: httpx.AsyncClient) -> None:
        self._counts[name] = 0
        while True:
            answer: httpx.Response = await kind(api)
            self._counts[name] += 1
            self._judge(name, answer)
            await asyncio.sleep(0.002)

    def _judge(self, name: str, answer: httpx.Response) -> None:
        found = answer.json()
        if answer.status_code != 200:
            if answer.status_code not in {503, 504} or not found["retryable"]:
                self.wrong.append(f"{name}: {found}")
        elif "memories" in found:
            own = [m for m in found["memories"] if m["agent_id"] == LEAVING]
            if len(own) < HAD and not found.get("partial"):
                self.wrong.append(f"{name}: {len(own)} by {found.get('served_by')}")

    async def _search(self, api: httpx.AsyncClient) -> httpx.Response:
        return await api.post("/v1/episodic/search", json=question(LEAVING, "own"))

    async def _search_all(self, api: httpx.AsyncClient) -> httpx.Response:
        return await api.post("/v1/episodic/search", json=question(ELSEWHERE, "all"))

    async def _query(self, api: httpx.AsyncClient) -> httpx.Response:
        return await api.post("/v1/episodic/query", json={"agent_id": LEAVING})

    async def _fetch(self, api: httpx.AsyncClient) -> httpx.Response:
        return await api.get(f"/v1/episodic/{LEAVING}/m{HAD - 1}")


def question(agent_id: str, scope: str) -> dict[str, Any]:
    vector = memory(agent_id, 0)["state_vector"]
    return {"agent_id": agent_id, "state_vector": vector, "scope": scope, "top_k": 100}


@asynccontextmanager
async def half_moved(cluster: Cluster) -> AsyncIterator[Migration]:
    """The slot on its way, and taken back at the end, whoever has it then."""
    slot = slot_of(LEAVING)
    source = await cluster.owner(slot)
    migration = Migration(slot, source, await cluster.owner(slot_of(ELSEWHERE)))
    await migration.begin()
    await migration.move(LEFT)
    try:
        yield migration
    finally:
        await until(lambda: is_whole(cluster))
        back = Migration(slot, migration.target, await cluster.owner(slot))
        await end(back.target, slot)
        await back.move(100)
        await end(back.source, slot)


async def end(node: EmbeddedNode, slot: int) -> None:
    """Have the node forget that the slot is on its way."""
    async with raw(node) as redis:
        await command(redis, "CLUSTER", "SETSLOT", slot, "STABLE")


async def has_everything(api: httpx.AsyncClient, agent_id: str) -> bool:
    found = await search(api, agent_id, top_k=100)
    return (found.get("count"), found.get("exact"), found.get("partial")) == (HAD, True, False)


async def replica_of(node: EmbeddedNode, cluster: Cluster) -> EmbeddedNode:
    async with raw(node) as redis:
        port = (await redis.info("replication"))["slave0"]["port"]
    return next(node for node in cluster.topology.nodes if node.port == port)


async def test_new_master_answers_nobody_with_the_half_that_it_has(cluster: Cluster) -> None:
    async with that_looks_rarely(cluster) as unaware:
        assert await has_everything(unaware, LEAVING)
        async with Asking(cluster.api, unaware) as asking:
            async with half_moved(cluster) as move:
                with paused(await process_id(move.source)):
                    await until(lambda: is_replaced(cluster, move))
                    await until(lambda: has_everything(cluster.api, STAYING))
                    await asking.each_again()
                await asking.each_again()
                again = await cluster.api.post("/v1/episodic", json=memory(LEAVING, 0))
                assert (again.status_code, again.json()["code"]) == (503, "storage_moving")
                both = {"memories": [memory(LEAVING, 50), memory(STAYING, 50)]}
                results = (await cluster.api.post("/v1/episodic/batch", json=both)).json()[
                    "results"
                ]
                assert [result["status"] for result in results] == ["error", "created"]
                assert (await cluster.api.delete(f"/v1/episodic/{STAYING}/m50")).status_code == 204
                status, said = await checked(cluster)
                assert status == 1
                assert f"On their way between two nodes: {slot_of(LEAVING)}." in said
                async with running_service(cluster.settings) as fresh:
                    found = await search(fresh, LEAVING)
                    assert found["code"] == "storage_moving"
                    assert await has_everything(fresh, STAYING)
            await asking.each_again()
        assert asking.wrong == []
        for api in (cluster.api, unaware):
            await until(lambda api=api: has_everything(api, LEAVING))
            assert (await search(api, ELSEWHERE, scope="all", top_k=100))["count"] == 4 * HAD


async def checked(cluster: Cluster) -> tuple[int, str]:
    """What the command `check` ends with, and says."""
    seeds = ",".join(url.get_secret_value() for url in cluster.settings.cluster_urls)
    where: dict[str, Any] = {"cluster_urls": seeds, "dimension": DIMENSION}
    return await asyncio.to_thread(partial(run_app, "check", **where))


async def is_replaced(cluster: Cluster, move: Migration) -> bool:
    try:
        await cluster.owner(move.slot, but=move.source)
    except LookupError:
        return False
    return True


async def test_replica_answers_for_what_stays_alone(cluster: Cluster) -> None:
    """It stands in for a master that nobody replaces."""
    async with that_looks_rarely(cluster) as unaware:
        assert await has_everything(unaware, LEAVING)
        replica = await replica_of(await cluster.owner(slot_of(LEAVING)), cluster)
        async with raw(replica) as redis:
            await redis.config_set("cluster-replica-no-failover", "yes")
        try:
            async with Asking(cluster.api, unaware) as asking, half_moved(cluster) as move:
                with paused(await process_id(move.source)):
                    for api in (cluster.api, unaware):
                        await until(lambda api=api: is_answered_by_replica(api, STAYING))
                    await asking.each_again()
                    await asking.each_again()
                await asking.each_again()
            assert asking.wrong == []
        finally:
            async with raw(replica) as redis:
                await redis.config_set("cluster-replica-no-failover", "no")
        await until(lambda: has_everything(cluster.api, LEAVING))


async def is_answered_by_replica(api: httpx.AsyncClient, agent_id: str) -> bool:
    found = await search(api, agent_id, top_k=100)
    assert found.get("count", HAD) == HAD
    return str(found.get("served_by")).startswith("replica ")
