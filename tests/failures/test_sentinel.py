"""The master changes by itself: nothing replicated is lost, and what is lost is told."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.embedded import embedded_redis
from app.embedded.topology import MASTER_NAME
from app.errors import ConfigurationError, StartError, StorageUnavailable
from app.nodes.client import execute
from app.nodes.sentinel import Sentinels, SentinelView, first_view, url_of
from app.settings import Settings, load_settings
from tests.commands.app_process import run_app
from tests.conftest import DIMENSION
from tests.kit.replica_set import WAIT_S, ReplicaSet, raw
from tests.kit.sentinel_set import NEVER_MS, SOON_MS, fail_over_after, sentinel_set

VECTOR = [1.0] * DIMENSION
REPLICATED = {"X-Durability": "replicated"}


def experience(agent_id: str, memory_id: str) -> dict[str, Any]:
    names = {"id": memory_id, "agent_id": agent_id, "product_id": "p", "regime": "r"}
    return {**names, "state_vector": VECTOR}


def search(agent_id: str, **fields: Any) -> dict[str, Any]:
    return {"agent_id": agent_id, "state_vector": VECTOR, "top_k": 1000, **fields}


@pytest.fixture(scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplicaSet]:
    async with sentinel_set(tmp_path_factory.mktemp("nodes")) as started:
        yield started


async def until_another_is_master(nodes: ReplicaSet, old: str) -> dict[str, Any]:
    """Wait until another node takes writes and its failover is told; what is told.

    Once a Sentinel names it, no further one replaces it.
    """
    port = int(old.rpartition(":")[2])
    sentinels = Sentinels(nodes.topology.addresses.sentinels, MASTER_NAME, nodes.settings)
    await until_named(sentinels, lambda named: named != port)
    await sentinels.aclose()
    await fail_over_after(nodes.topology, NEVER_MS)

    def is_told(part: dict[str, Any]) -> bool:
        return part.get("status") == "ok" and part.get("last_failover", {}).get("from") == old

    await nodes.until_part("master", is_told)
    told: dict[str, Any] = (await nodes.parts())["master"]["last_failover"]
    return told


async def until_named(sentinels: Sentinels, is_it: Callable[[int], bool]) -> None:
    """Wait until the newest view of the Sentinels names such a port as the master's."""
    async with asyncio.timeout(WAIT_S):
        while True:
            with suppress(StorageUnavailable):  # busy Sentinels may all be silent
                if is_it((await sentinels.view()).master[1]):
                    return
            await asyncio.sleep(0.05)


class Load:
    """Writers that repeat what was refused, and readers; all of them see each answer."""

    def __init__(self, api: httpx.AsyncClient, agent_id: str) -> None:
        self.api = api
        self.agent_id = agent_id
        self.confirmed: list[str] = []
        self.wrong: list[str] = []
        self.reads = 0
        self._stop = asyncio.Event()

    async def __aenter__(self) -> "Load":
        work = [self._write(f"w{number}") for number in range(4)]
        self._tasks = [asyncio.create_task(one) for one in (*work, self._read(), self._read())]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _write(self, name: str) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            body = experience(self.agent_id, f"{name}-{number}")
            while True:
                answer = await self.api.post("/v1/episodic", json=body, headers=REPLICATED)
                if answer.is_success:
                    self.confirmed.append(body["id"])
                    break
                if not answer.json()["retryable"]:
                    self.wrong.append(answer.text)
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.005)

    async def _read(self) -> None:
        while not self._stop.is_set():
            answer = await self.api.post("/v1/episodic/search", json=search(self.agent_id))
            if not answer.is_success:
                self.wrong.append(answer.text)
            self.reads += 1
            await asyncio.sleep(0.01)

    async def until_confirmed(self, count: int) -> None:
        before = len(self.confirmed)
        async with asyncio.timeout(90):
            while len(self.confirmed) < before + count:
                await asyncio.sleep(0.01)


async def test_commands_ask_the_sentinels(nodes: ReplicaSet) -> None:
    master = (await nodes.parts())["master"]["address"]
    urls = ",".join(nodes.topology.addresses.sentinels)
    status, said = run_app("topology", sentinel_urls=urls)
    assert status == 0
    assert said.splitlines()[0].split()[2] == master.partition(":")[2]
    assert said.count(f"names {master}") == 3
    status, said = run_app("check", sentinel_urls=f"{urls},redis://127.0.0.1:1", dimension=8)
    assert status == 1
    assert "The Sentinel 127.0.0.1:1 does not answer" in said
    assert said.count("problem ") == 1


async def test_master_that_is_killed_is_replaced_and_nothing_replicated_is_lost(
    nodes: ReplicaSet,
) -> None:
    master = (await nodes.parts())["master"]
    async with Load(nodes.api, "killed") as load:
        await load.until_confirmed(20)
        token = (await nodes.api.post("/v1/episodic", json=experience("t", "1"))).json()["token"]
        await nodes.until_part("replica-1", lambda part: part["lag_bytes"] == 0)
        await fail_over_after(nodes.topology, SOON_MS)
        os.kill(master["process_id"], signal.SIGKILL)
        told = await until_another_is_master(nodes, master["address"])
        await load.until_confirmed(20)
    assert load.wrong == []
    assert told["lost_writes"] == 0
    found = (await nodes.api.post("/v1/episodic/search", json=search("killed"))).json()
    assert sorted(hit["id"] for hit in found["memories"]) == sorted(load.confirmed)
    strong = search("killed", consistency="strong")
    served_by = (await nodes.api.post("/v1/episodic/search", json=strong)).json()["served_by"]
    assert served_by == f"master {told['to']}"
    # A token from before the failover is still good.
    answer = await nodes.api.post("/v1/episodic/search", json=search("t", consistency=token))
    assert answer.json()["count"] == 1
    # The old master comes back, never as a second one.
    await nodes.until_in_rotation("replica-1", "replica-2")
    roles = {part["address"]: part["role"] for name, part in (await nodes.parts()).items()
             if "address" in part}  # fmt: skip
    assert roles[master["address"]] == "slave"
    metrics = (await nodes.api.get("/metrics")).text
    up = re.findall(r'memory_node_up\{node="(\S+)",role="master"\} 1\.0', metrics)
    assert [roles[name] for name in up if name in roles] == ["master"]
    assert list(roles.values()).count("master") == 1


async def test_confirmed_writes_that_only_the_dead_master_had_are_told(
    nodes: ReplicaSet, caplog: pytest.LogCaptureFixture
) -> None:
    """The agent's index was among them: it is made again."""
    await nodes.until_in_rotation("replica-1", "replica-2")
    parts = await nodes.parts()
    before = _lost_writes((await nodes.api.get("/metrics")).text)
    master = parts["master"]
    replicas = [parts[name]["process_id"] for name in ("replica-1", "replica-2")]
    for process_id in replicas:
        os.kill(process_id, signal.SIGSTOP)
    try:
        async with raw(f"redis://{master['address']}") as client:
            # Else the replicas' sockets would hold the writes, or they would be refused.
            await execute(client, "CLIENT", "KILL", "TYPE", "replica")
            await client.config_set("min-replicas-to-write", 0)
        for number in range(3):
            stored = await nodes.api.post("/v1/episodic", json=experience("lost", f"{number}"))
            assert stored.status_code == 201
        token = stored.json()["token"]
        await fail_over_after(nodes.topology, SOON_MS)
        os.kill(master["process_id"], signal.SIGKILL)
    finally:
        for process_id in replicas:
            os.kill(process_id, signal.SIGCONT)
    told = await until_another_is_master(nodes, master["address"])
    assert told["lost_writes"] == 3
    assert told["lost_bytes"] > 0
    records = [record for record in caplog.records if hasattr(record, "lost_keys")]
    assert records[-1].lost_keys == tuple(f"episodic:{{lost}}:{n}" for n in range(3))
    assert (await nodes.api.get("/v1/episodic/lost/0")).status_code == 404
    found = await nodes.api.post("/v1/episodic/search", json=search("lost"))
    assert found.json()["count"] == 0
    gone = await nodes.api.post("/v1/episodic/search", json=search("lost", consistency=token))
    assert (gone.status_code, gone.json()["code"]) == (409, "token_unknown")
    async with asyncio.timeout(WAIT_S):
        while True:
            again = await nodes.api.post("/v1/episodic", json=experience("lost", "0"))
            if again.status_code == 201:
                break
            assert again.json()["code"] == "too_few_replicas"
            await asyncio.sleep(0.05)
    found = await nodes.api.post("/v1/episodic/search", json=search("lost"))
    assert found.json()["count"] == 1
    metrics = (await nodes.api.get("/metrics")).text
    assert _lost_writes(metrics) - before == 3


def _lost_writes(metrics: str) -> float:
    """The counter is this process's: earlier tests may have moved it."""
    found = re.search(r"^memory_failover_lost_writes_total (\S+)$", metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def test_write_is_not_confirmed_by_a_replica_that_is_left_behind(nodes: ReplicaSet) -> None:
    """While one is promoted the other still follows the old master, and acknowledges."""

    async def write(level: str, memory_id: str, *passing: str) -> httpx.Response:
        """Repeat what was refused for a reason that passes, as on a busy machine."""
        body = experience("behind", f"{memory_id}-{level}")
        while True:
            answer = await nodes.api.post(
                "/v1/episodic", json=body, headers={"X-Durability": level}
            )
            if answer.is_success or answer.json()["code"] not in passing:
                return answer
            await asyncio.sleep(0.05)

    for attempt in range(4):
        await nodes.until_in_rotation("replica-1", "replica-2")
        parts = await nodes.parts()
        async with raw(f"redis://{parts['replica-1']['address']}") as promoted:
            await execute(promoted, "REPLICAOF", "NO", "ONE")
            answers = await asyncio.gather(
                *(write(how, f"{attempt}", "too_few_replicas") for how in ("replicated", "fsynced"))
            )
            role = (await promoted.info("replication"))["role"]
            # Sentinels, which did not do this, would take it back after eight seconds.
            host, _, port = parts["master"]["address"].rpartition(":")
            await execute(promoted, "REPLICAOF", host, port)
        if role == "master":
            break
    assert role == "master", "the machine is too slow for this test"
    for refused in answers:
        assert refused.status_code == 503, refused.text
        assert refused.json()["code"] == "durability_not_reached"
        assert "1 of 2 replicas" in refused.json()["detail"]
    await nodes.until_in_rotation("replica-1", "replica-2")
    async with asyncio.timeout(90):
        passing = ("too_few_replicas", "durability_not_reached")
        await write("replicated", "again", *passing)
        await write("fsynced", "again", *passing)


async def test_data_of_the_last_master_counts_at_the_next_start(tmp_path: Path) -> None:
    """Whatever topology comes next: node-1 may be far behind."""
    watched = Settings(
        data_dir=tmp_path, embedded_topology="sentinel", embedded_replicas=1, dimension=DIMENSION
    )
    async with embedded_redis(watched) as topology:
        (replica,) = topology.replicas
        sentinels = Sentinels(topology.addresses.sentinels, MASTER_NAME, watched)
        topology.master.process.kill()
        await until_named(sentinels, lambda named: named == replica.port)
        await sentinels.aclose()
        async with raw(replica.url) as client:
            await client.config_set("min-replicas-to-write", 0)
            await client.set("after", "failover")
    async with embedded_redis(Settings(data_dir=tmp_path)) as alone:
        assert alone.master.name == replica.name
        async with raw(alone.master.url) as client:
            assert await client.get("after") == b"failover"
    async with embedded_redis(watched) as topology:
        assert topology.master.name == replica.name
        async with raw(topology.master.url) as client:
            assert await execute(client, "WAIT", 1, 20_000) == 1


class Views(Sentinels):
    """Sentinels that say what a test has them say."""

    def __init__(self, *views: SentinelView | None) -> None:
        self._answers = list(views)
        super().__init__(["redis://127.0.0.1:1"] * len(views), "m", Settings())

    async def _ask(self, sentinel: Any) -> SentinelView | None:
        return self._answers.pop(0)


async def test_newest_view_counts_whoever_answers_first() -> None:
    old, new = SentinelView(1, ("a", 1), ()), SentinelView(2, ("b", 1), ())
    assert await Views(old, None, new).view() == new


async def test_start_without_any_view_says_where_to_look() -> None:
    with pytest.raises(StartError, match="MEMORY_SENTINEL_MASTER"):
        await first_view(Views(None, None), wait_s=-1)


def test_node_gets_its_own_password_not_the_sentinels() -> None:
    settings = Settings(redis_username="u", redis_password="p/w")
    assert url_of(("h", 1), "rediss://s:x@y", settings) == "rediss://u:p%2Fw@h:1"
    assert url_of(("::1", 1), "redis://s:x@y", Settings()) == "redis://[::1]:1"


def test_two_ways_to_find_the_master_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMORY_SENTINEL_URLS", "redis://a:26379,redis://b:26379")
    monkeypatch.setenv("MEMORY_REDIS_URL", "redis://c")
    with pytest.raises(ConfigurationError, match="unset MEMORY_REDIS_URL"):
        load_settings()
