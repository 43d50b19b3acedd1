"""The service on a real Redis Cluster: agents on different shards, moving slots, dead masters."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.errors import ConfigurationError
from app.lifespan import start
from app.settings import Settings
from tests.cluster import (
    AGENTS,
    Cluster,
    Migration,
    afresh,
    empty,
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
from tests.memory_model import as_stored
from tests.service_process import NO_TLS, service_process


@pytest.fixture(scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """One cluster for all tests here; the cache is off, so that nodes answer."""
    async with running_cluster(tmp_path_factory.mktemp("cluster"), cache_enabled=False) as cluster:
        yield cluster


@pytest.fixture
async def cluster(started: Cluster) -> AsyncIterator[Cluster]:
    """The cluster, emptied, all of its nodes up, and a fresh service on it."""
    async with afresh(started) as fresh:
        yield fresh


QUESTIONS = 20


async def test_agents_live_on_different_shards_and_questions_span_them(cluster: Cluster) -> None:
    await fill(cluster.api)
    served = {agent_id: (await search(cluster.api, agent_id))["served_by"] for agent_id in AGENTS}
    assert len(set(served.values())) == 3
    for scope, count in (("own", 10), ("others", 30), ("all", 40)):
        found = await search(cluster.api, "agent_1", scope=scope, top_k=100)
        assert (found["count"], found["exact"], found["partial"]) == (count, True, False)
        distances = [hit["distance"] for hit in found["memories"]]
        assert distances == sorted(distances)
    nearest = await search(cluster.api, "agent_1", scope="all", top_k=3)
    everything = await search(cluster.api, "agent_1", scope="all", top_k=100)
    assert nearest["memories"] == everything["memories"][:3]
    stats = (await cluster.api.get("/v1/stats")).json()
    assert (stats["totals"]["agents"], stats["totals"]["memories"]) == (4, 40)
    assert [agent["memories"] for agent in stats["agents"]] == [10] * 4


async def test_float16_on_every_shard(cluster: Cluster) -> None:
    chosen = cluster.settings.model_copy(update={"vector_type": "float16"})
    async with running_service(chosen) as api:
        await fill(api)
        for agent_id in AGENTS:
            found = await search(api, agent_id, scope="all", top_k=100, include_vectors=True)
            assert (found["count"], found["exact"], found["partial"]) == (40, True, False)
            assert (found["memories"][0]["agent_id"], found["memories"][0]["id"]) == (
                agent_id,
                "m0",
            )
            for hit in found["memories"]:
                sent = memory(hit["agent_id"], int(hit["id"][1:]))["state_vector"]
                found_again = np.asarray(hit["state_vector"], "f4")
                assert np.array_equal(found_again, as_stored(sent, "float16"))
        indexes = (await api.get("/v1/stats")).json()["totals"]
        assert (indexes["memories"], indexes["index_failures"]) == (40, 0)


async def test_token_of_one_shard_is_honoured_on_every_other(cluster: Cluster) -> None:
    await fill(cluster.api, each=2)
    async with running_service(cluster.settings) as other:
        for agent_id in AGENTS:
            stored = (await cluster.api.post("/v1/episodic", json=memory(agent_id, 50))).json()
            for asked, scope in ((agent_id, "own"), (AGENTS[0], "all"), (AGENTS[-1], "all")):
                found = await search(
                    other, asked, scope=scope, top_k=100, consistency=stored["token"]
                )
                assert (agent_id, "m50") in {(m["agent_id"], m["id"]) for m in found["memories"]}
        unknown = await search(other, "agent_1", consistency=f"{'0' * 40}:1")
        assert unknown["code"] == "token_unknown"


async def test_writes_of_another_service_reach_the_cache_from_every_shard(
    cluster: Cluster,
) -> None:
    await fill(cluster.api, each=2)
    cached = cluster.settings.model_copy(update={"cache_enabled": True})
    async with running_service(cached) as other:
        for agent_id in AGENTS:

            async def hits(agent_id: str = agent_id) -> bool:
                return bool((await search(other, agent_id))["cached"])

            await until(hits)
            await cluster.api.post("/v1/episodic", json=memory(agent_id, 60))

            async def sees(agent_id: str = agent_id) -> bool:
                return bool((await search(other, agent_id))["count"] == 3)

            await until(sees)


class Load:
    """Writes to one agent and searches in it, without pause, until it is told to stop."""

    def __init__(self, api: httpx.AsyncClient, agent_id: str) -> None:
        self.api = api
        self.agent_id = agent_id
        self.confirmed: set[int] = set()
        self.refused: list[dict[str, Any]] = []
        self.short: list[str] = []
        self.answered = 0
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._search())]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def more(self, count: int = 20) -> None:
        """Let so many more writes be confirmed and questions answered."""
        confirmed, answered = len(self.confirmed) + count, self.answered + count
        async with asyncio.timeout(60):
            while len(self.confirmed) < confirmed or self.answered < answered:
                await asyncio.sleep(0.01)

    async def _write(self) -> None:
        number = 1000
        while not self._stop.is_set():
            answer = await self.api.post("/v1/episodic", json=memory(self.agent_id, number))
            if answer.status_code in {200, 201}:
                self.confirmed.add(number)
                number += 1
            else:
                self.refused.append(answer.json())
            await asyncio.sleep(0.005)

    async def _search(self) -> None:
        while not self._stop.is_set():
            known = len(self.confirmed)
            for scope in ("own", "all"):
                found = await search(self.api, self.agent_id, scope=scope, top_k=1000)
                if "memories" not in found:
                    self.refused.append(found)
                    continue
                own = [hit for hit in found["memories"] if hit["agent_id"] == self.agent_id]
                if len(own) < known + 10 and not found["partial"]:
                    self.short.append(f"{scope}: {len(own)} of at least {known + 10}")
                self.answered += 1
            await asyncio.sleep(0.005)


async def test_slot_moves_during_load_and_its_index_follows(cluster: Cluster) -> None:
    """No answer lacks a confirmed memory, none is lost or doubled, and nobody has to help."""
    agent_id = "agent_1"
    await fill(cluster.api)
    slot = slot_of(agent_id)
    source = await cluster.owner(slot)
    target = await cluster.owner(slot_of("agent_8"))
    migration = Migration(slot, source, target)
    async with Load(cluster.api, agent_id) as load:
        await load.more()
        await migration.begin()
        for _ in range(5):
            await migration.move(3)
            await asyncio.sleep(0.05)
        await migration.finish()
        await load.more()
        back = Migration(slot, target, source)
        await back.begin()
        await back.move(7)
        # Longer than a question waits: it is refused, never answered with the rest.
        refused_before = len(load.refused)
        async with asyncio.timeout(40):
            while len(load.refused) < refused_before + 2:
                await asyncio.sleep(0.05)
        await back.finish()
        await load.more()
    assert load.short == []
    codes = {problem["code"] for problem in load.refused}
    assert codes <= {"storage_moving", "index_rebuilding"}
    assert all(problem["retryable"] for problem in load.refused)
    found = await search(cluster.api, agent_id, top_k=1000)
    ids = [hit["id"] for hit in found["memories"]]
    assert len(ids) == len(set(ids))
    assert {f"m{number}" for number in load.confirmed} <= set(ids)
    assert len(ids) == 10 + len(load.confirmed)


async def test_replica_of_a_slot_on_its_way_is_not_asked(cluster: Cluster) -> None:
    """It would answer with what has not left yet, for it is not told of the move."""
    await fill(cluster.api)
    slot = slot_of("agent_2")
    source = await cluster.owner(slot)
    target = await cluster.owner(slot_of("agent_8"))
    migration = Migration(slot, source, target)
    await migration.begin()
    await migration.move(6)
    try:
        found = await search(cluster.api, "agent_2", top_k=100)
        assert found["code"] == "storage_moving"
        across = await search(cluster.api, "agent_8", scope="all", top_k=100)
        assert (across["count"], across["exact"], across["partial"]) == (20, False, True)
        assert (await search(cluster.api, "agent_8"))["count"] == 10
    finally:
        await migration.finish()
    assert (await search(cluster.api, "agent_2", top_k=100))["count"] == 10


async def test_paused_master_is_replaced_by_its_replica(cluster: Cluster) -> None:
    agent_id = "agent_8"
    await fill(cluster.api)
    old = await cluster.owner(slot_of(agent_id))
    stopped = await process_id(old)
    async with Load(cluster.api, agent_id) as load:
        await load.more()
        os.kill(stopped, signal.SIGSTOP)
        try:
            async with asyncio.timeout(40):
                while not load.refused:
                    await asyncio.sleep(0.01)
            # Others' memories are on other machines.
            assert (await search(cluster.api, "agent_1"))["count"] == 10
            await load.more()
        finally:
            os.kill(stopped, signal.SIGCONT)
        await load.more()
    new = await cluster.owner(slot_of(agent_id))
    assert new.port != old.port
    assert all(problem["retryable"] for problem in load.refused)
    found = await search(cluster.api, agent_id, top_k=1000)
    assert len({hit["id"] for hit in found["memories"]}) == found["count"]


async def test_no_strong_answer_comes_from_a_master_that_was_replaced_unseen(
    cluster: Cluster,
) -> None:
    """A service and its master hang together, and wake up together when another one has written."""
    agent_id = AGENTS[0]
    await fill(cluster.api)
    old = await process_id(await cluster.owner(slot_of(agent_id)))
    seeds = ",".join(url.get_secret_value() for url in cluster.settings.cluster_urls)
    where: dict[str, Any] = {"cluster_urls": seeds, "dimension": DIMENSION}
    with service_process(**where, cache_enabled="false") as hanging:
        async with httpx.AsyncClient(base_url=hanging.url, timeout=30, verify=NO_TLS) as reader:
            ask = partial(search, reader, agent_id, consistency="strong", top_k=100)
            assert (await ask())["count"] == 10
            with paused(old), paused(hanging.process.pid):
                await until(lambda: is_stored(cluster.api, agent_id, 70))
                asked = [asyncio.create_task(ask()) for _ in range(QUESTIONS)]
                await asyncio.sleep(0.2)  # now they are at the service
                os.kill(hanging.process.pid, signal.SIGCONT)
                # It asks before it hears of anything, and so it will be with the master.
                await asyncio.sleep(0.2)
            answers = await asyncio.gather(*asked)
            assert {answer.get("count", 11) for answer in answers} == {11}
            assert all(answer["retryable"] for answer in answers if "code" in answer)

            async def is_seen() -> bool:
                return bool((await ask()).get("count") == 11)

            await until(is_seen)


async def is_stored(api: httpx.AsyncClient, agent_id: str, number: int) -> bool:
    return (await api.post("/v1/episodic", json=memory(agent_id, number))).status_code in {200, 201}


async def test_layout_shared_is_refused_in_a_sentence(cluster: Cluster) -> None:
    shared = cluster.settings.model_copy(update={"layout": "shared"})
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigurationError, match="set MEMORY_LAYOUT to per_agent"):
            await start(shared, stack)


async def test_redis_that_is_in_no_cluster_is_refused(settings: Settings) -> None:
    assert settings.redis_url is not None
    chosen = Settings(cluster_urls=(settings.redis_url,), dimension=DIMENSION)
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigurationError, match="set MEMORY_REDIS_URL instead"):
            await start(chosen, stack)


async def test_redis_that_is_in_a_cluster_is_refused_as_one_alone(cluster: Cluster) -> None:
    url = cluster.settings.cluster_urls[0]
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigurationError, match="set MEMORY_CLUSTER_URLS to the addresses"):
            await start(Settings(redis_url=url, dimension=DIMENSION), stack)
    where: dict[str, Any] = {"redis_url": url.get_secret_value(), "dimension": DIMENSION}
    for words in (["check"], ["topology"], ["export", "memory.ndjson"]):
        status, said = await asyncio.to_thread(partial(run_app, *words, **where))
        assert (status > 0, "set MEMORY_CLUSTER_URLS to the" in said) == (True, True), said


async def test_commands_see_every_shard(cluster: Cluster, tmp_path: Path) -> None:
    await fill(cluster.api)
    seeds = ",".join(url.get_secret_value() for url in cluster.settings.cluster_urls[:1])
    where: dict[str, Any] = {"cluster_urls": seeds, "dimension": DIMENSION}
    file = tmp_path / "memory.ndjson"

    async def run(*words: object) -> str:
        status, said = await asyncio.to_thread(lambda: run_app(*words, **where))
        assert status == 0, said
        return said

    checked, nodes, exported = await asyncio.gather(
        run("check"), run("topology"), run("export", file)
    )
    assert "4 of 4 indexes ready, 40 memories in them" in checked
    assert "all 16,384 have a master, none is on its way" in checked
    assert (nodes.count("master"), nodes.count("replica")) == (3, 3)
    assert "Exported 40 memories" in exported
    await empty(cluster.topology)
    assert "40" in await run("import", file)
    async with running_service(cluster.settings) as api:
        assert (await search(api, "agent_3", scope="all", top_k=100))["count"] == 40


async def test_repetition_of_what_no_replica_has_is_not_confirmed(cluster: Cluster) -> None:
    """By another service, that wrote nothing there yet; a cluster does not replicate PUBLISH."""
    await fill(cluster.api, each=1)
    url, body = "/v1/episodic", memory("agent_1", 1)
    brief = cluster.settings.model_copy(update={"durability_timeout_ms": 300})
    master = await cluster.owner(slot_of("agent_1"))
    async with raw(master) as redis:
        port = int((await redis.info("replication"))["slave0"]["port"])
    (replica,) = (node for node in cluster.topology.nodes if node.port == port)
    async with running_service(brief) as one, running_service(brief) as two:
        with paused(await process_id(replica)):
            for level in ("replicated", "fsynced"):
                for api in (one, two):
                    answer = await api.post(url, json=body, headers={"X-Durability": level})
                    assert answer.status_code == 503, answer.text
                    assert answer.json()["code"] == "durability_not_reached"
    await until(lambda: is_whole(cluster))
    again = await cluster.api.post(url, json=body, headers={"X-Durability": "replicated"})
    assert (again.status_code, again.json()["created"]) == (200, False)
