"""Faults of real nodes under load: nothing fails that need not, nothing wrong is answered."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.nodes.client import execute
from app.nodes.engine_options import ON_TIMEOUT, value_on
from tests.conftest import DIMENSION, running_service
from tests.engine import setting
from tests.kit.replica_set import ReplicaSet, raw, replica_set

AGENTS = 50
PAUSE_S = 0.03
"""Between an agent's questions: without it they take the processor from the nodes' restarts."""


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[ReplicaSet]:
    # Distinct questions only: the cache would hide the nodes.
    async with replica_set(tmp_path, cache_enabled=False, resident_max_bytes=0) as started:
        yield started


def memory(agent: int, number: int) -> dict[str, Any]:
    rng = np.random.default_rng([agent, number])
    return {
        "id": f"m{number}",
        "agent_id": f"agent_{agent}",
        "product_id": "p",
        "regime": "r",
        "state_vector": [float(x) for x in rng.normal(size=DIMENSION)],
    }


async def fill(api: httpx.AsyncClient, each: int = 10) -> None:
    batch = [memory(agent, number) for agent in range(AGENTS) for number in range(each)]
    for start in range(0, len(batch), 1000):
        answer = await api.post(
            "/v1/episodic/batch", json={"memories": batch[start : start + 1000]}
        )
        assert answer.json()["created"] == len(batch[start : start + 1000])


class Load:
    """Agents that ask again and again; each answer is checked against its question."""

    def __init__(self, api: httpx.AsyncClient) -> None:
        self.api = api
        self.served_by: Counter[str] = Counter()
        self.failures: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._ask(agent)) for agent in range(AGENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, agent: int) -> None:
        number = 0
        while True:
            number = (number + 1) % 10
            asked = memory(agent, number)
            body = {"agent_id": asked["agent_id"], "state_vector": asked["state_vector"]}
            answer = await self.api.post("/v1/episodic/search", json=body | {"top_k": 1})
            await asyncio.sleep(PAUSE_S)
            if answer.status_code != 200:
                self.failures.append(answer.text)
                continue
            found = answer.json()
            hit = found["memories"][0]
            if (hit["agent_id"], hit["id"]) != (asked["agent_id"], asked["id"]):
                self.failures.append(f"{asked['agent_id']} {asked['id']} got {hit}")
            self.served_by[found["served_by"]] += 1

    async def more(self, count: int = 300) -> set[str]:
        """Let this many more answers come; the nodes that gave them."""
        before = self.served_by.copy()
        async with asyncio.timeout(90):
            while (self.served_by - before).total() < count:
                await asyncio.sleep(0.005)
        return set(self.served_by - before)


async def test_dead_replica_costs_no_request_and_its_share_moves(nodes: ReplicaSet) -> None:
    await fill(nodes.api)
    async with Load(nodes.api) as load:
        await load.more()
        nodes.end_for_good(1)
        await nodes.until_part("replica-1", lambda part: part["status"] == "failed")
        await load.more(100)
        assert "replica-1" not in await load.more()
    assert load.failures == []


async def test_killed_replica_costs_no_request_and_comes_back(nodes: ReplicaSet) -> None:
    await fill(nodes.api)
    await nodes.until_in_rotation("replica-1", "replica-2")
    async with Load(nodes.api) as load:
        assert await load.more() >= {"replica-1", "replica-2"}
        killed = await nodes.signal("replica-1", signal.SIGKILL)
        await nodes.until_part(
            "replica-1",
            lambda part: part["status"] == "ok" and part["process_id"] != killed,
        )
        assert "replica-1" in await load.more(600)
    assert load.failures == []


async def test_paused_replica_is_left_alone_until_it_goes_on(nodes: ReplicaSet) -> None:
    await fill(nodes.api)
    async with Load(nodes.api) as load:
        await load.more()
        process_id = await nodes.signal("replica-2", signal.SIGSTOP)
        try:
            await load.more(200)
            assert "replica-2" not in await load.more()
        finally:
            os.kill(process_id, signal.SIGCONT)
        await nodes.until_in_rotation("replica-2")
        assert "replica-2" in await load.more(600)
    assert load.failures == []


async def test_reads_under_way_leave_a_master_that_hangs(nodes: ReplicaSet) -> None:
    """Before any of their own limits, which are minutes here."""
    patient = {"search_timeout_ms": 200_000, "redis_read_timeout_s": 300.0}
    settings = nodes.settings.model_copy(update=patient | {"default_deadline_ms": 300_000})
    async with running_service(settings) as api:
        process_id = await nodes.process_id("master")
        stored = memory(0, 0)
        assert (await api.post("/v1/episodic", json=stored)).status_code == 201
        os.kill(process_id, signal.SIGSTOP)
        try:
            # The write was a moment ago: no replica was seen to have it, the master is asked.
            body = {"agent_id": "agent_0", "state_vector": stored["state_vector"]}
            search = api.post("/v1/episodic/search", json=body)
            async with asyncio.timeout(60):
                found, read = await asyncio.gather(search, api.get("/v1/episodic/agent_0/m0"))
        finally:
            os.kill(process_id, signal.SIGCONT)
    assert [hit["id"] for hit in found.json()["memories"]] == ["m0"]
    assert found.json()["served_by"].startswith("replica")
    assert read.json()["id"] == "m0"


async def test_dead_master_leaves_reads_and_refuses_writes(nodes: ReplicaSet) -> None:
    await fill(nodes.api)
    async with Load(nodes.api) as load:
        await load.more(100)
        nodes.end_for_good(0)
        await nodes.until_part("master", lambda part: part["status"] == "failed")
        await load.more(100)
        assert await load.more() <= {"replica-1", "replica-2"}
        for number in range(5):
            refused = await nodes.api.post("/v1/episodic", json=memory(0, 500 + number))
            assert refused.status_code in {503, 504}
            assert refused.json()["retryable"] is True
        page = await nodes.api.post("/v1/episodic/query", json={"agent_id": "agent_1"})
        assert page.json()["total"] == 10
        assert (await nodes.api.get("/v1/episodic/agent_1/m1")).status_code == 200
        ready = await nodes.api.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert load.failures == []


async def test_killed_master_is_started_again_and_has_every_confirmed_write(
    nodes: ReplicaSet,
) -> None:
    await fill(nodes.api)
    confirmed: list[str] = []
    refused: list[dict[str, Any]] = []
    stop = asyncio.Event()

    async def write() -> None:
        number = 100
        while not stop.is_set():
            number += 1
            answer = await nodes.api.post("/v1/episodic", json=memory(0, number))
            if answer.status_code == 201:
                confirmed.append(f"m{number}")
            else:
                refused.append(answer.json())
            await asyncio.sleep(0.002)

    writing = asyncio.create_task(write())
    async with Load(nodes.api) as load, asyncio.timeout(200):
        while len(confirmed) < 20:
            await asyncio.sleep(0.01)
        killed = await nodes.signal("master", signal.SIGKILL)
        await nodes.until_started_again("master", killed)
        before = len(confirmed)
        while len(confirmed) < before + 20:
            await asyncio.sleep(0.01)
        await load.more(100)
    stop.set()
    await writing
    assert load.failures == []
    assert all(problem["status"] in {503, 504} and problem["retryable"] for problem in refused)
    for memory_id in confirmed:
        assert (await nodes.api.get(f"/v1/episodic/agent_0/{memory_id}")).status_code == 200


async def test_search_out_of_time_is_an_error_on_every_node_and_after_a_restart(
    nodes: ReplicaSet,
) -> None:
    """The engine's default would answer with the part found so far."""

    async def policies() -> set[str | None]:
        found = set()
        for node in (nodes.topology.master, *nodes.topology.replicas):
            async with raw(node.url) as client:
                found.add(await value_on(client, ON_TIMEOUT))
        return found

    assert await policies() == {"fail"}
    for name in ("master", "replica-1"):
        killed = await nodes.signal(name, signal.SIGKILL)
        await nodes.until_started_again(name, killed)
    assert await policies() == {"fail"}
    async with raw(nodes.topology.replicas[1].url) as client:
        # As a node that somebody else starts without the setting would be.
        await execute(client, *setting(ON_TIMEOUT, "return"))
    killed = await nodes.signal("replica-2", signal.SIGKILL)
    await nodes.until_started_again("replica-2", killed)
    assert await policies() == {"fail"}


async def test_paused_replica_does_not_hold_up_new_agents(nodes: ReplicaSet) -> None:
    """Who waited for it would wait for minutes here."""
    patient = {"redis_read_timeout_s": 300.0, "index_wait_s": 300.0, "default_deadline_ms": 300_000}
    async with running_service(nodes.settings.model_copy(update=patient)) as api:
        process_id = await nodes.signal("replica-1", signal.SIGSTOP)
        try:
            async with asyncio.timeout(60):
                for agent in range(5):
                    stored = await api.post("/v1/episodic", json=memory(1000 + agent, 0))
                    assert stored.status_code == 201
        finally:
            os.kill(process_id, signal.SIGCONT)


async def test_token_is_honoured_right_after_the_master_was_started_again(
    nodes: ReplicaSet,
) -> None:
    await fill(nodes.api, each=1)
    await nodes.signal("master", signal.SIGKILL)
    async with asyncio.timeout(90):
        while True:
            answer = await nodes.api.post("/v1/episodic", json=memory(1, 77))
            if answer.status_code in {200, 201}:
                break
            await asyncio.sleep(0.01)
    body = {"agent_id": "agent_1", "state_vector": memory(1, 77)["state_vector"], "top_k": 1}
    found = await nodes.api.post(
        "/v1/episodic/search", json=body | {"consistency": answer.json()["token"]}
    )
    assert found.status_code == 200, found.text
    assert found.json()["memories"][0]["id"] == "m77"


async def test_write_is_seen_by_the_next_read_of_the_same_service(nodes: ReplicaSet) -> None:
    """Replicas that are paused in their replication do not answer with the past."""
    await fill(nodes.api, each=1)
    for number in range(100, 200):
        new = memory(3, number)
        stored = (await nodes.api.post("/v1/episodic", json=new)).json()
        for consistency in ("eventual", "strong", stored["token"]):
            body = {
                "agent_id": "agent_3",
                "state_vector": new["state_vector"],
                "top_k": 1,
                "consistency": consistency,
            }
            found = (await nodes.api.post("/v1/episodic/search", json=body)).json()
            assert found["memories"][0]["id"] == new["id"]
            assert consistency != "strong" or found["served_by"] == "master"


async def test_token_of_a_write_is_honoured_by_another_service(nodes: ReplicaSet) -> None:
    """The other service hears of writes late: a token tells it what it must have."""
    await fill(nodes.api, each=1)
    async with running_service(nodes.settings) as other:
        for number in range(100, 160):
            new = memory(3, number)
            token = (await nodes.api.post("/v1/episodic", json=new)).json()["token"]
            body = {"agent_id": "agent_3", "state_vector": new["state_vector"], "top_k": 1}
            found = (
                await other.post("/v1/episodic/search", json=body | {"consistency": token})
            ).json()
            assert found["memories"][0]["id"] == new["id"]


async def test_replica_whose_index_is_lost_alone_answers_nothing_wrong(nodes: ReplicaSet) -> None:
    await fill(nodes.api)
    for replica in nodes.topology.replicas:
        async with raw(replica.url) as client:
            await client.config_set("replica-read-only", "no")
            await client.execute_command("FT.DROPINDEX", "episodic_memory_idx:{agent_1}:flat")  # type: ignore[no-untyped-call]
            await client.config_set("replica-read-only", "yes")
    for number in range(10):
        asked = memory(1, number)
        body = {"agent_id": "agent_1", "state_vector": asked["state_vector"], "top_k": 10}
        found = (await nodes.api.post("/v1/episodic/search", json=body)).json()
        assert found["count"] == 10
        assert found["memories"][0]["id"] == asked["id"]


async def test_all_stages_on_equal_all_stages_off(nodes: ReplicaSet) -> None:
    await fill(nodes.api, each=20)
    off = nodes.settings.model_copy(
        update={
            "cache_enabled": False,
            "resident_max_bytes": 0,
            "single_flight_enabled": False,
            "batch_enabled": False,
            "balancer_enabled": False,
            "replica_urls": (),
        }
    )
    on = nodes.settings.model_copy(update={"cache_enabled": True})
    rng = np.random.default_rng(5)
    questions = [
        {
            "agent_id": f"agent_{rng.integers(AGENTS)}",
            "state_vector": [float(x) for x in rng.normal(size=DIMENSION)],
            "top_k": int(rng.integers(1, 25)),
            "scope": str(rng.choice(["own", "own", "own", "others", "all"])),
            "product_id": ["p", "q"] if rng.integers(2) else None,
        }
        for _ in range(400)
    ]
    async with running_service(on) as concurrent, running_service(off) as plain:
        gate = asyncio.Semaphore(100)

        async def ask(body: dict[str, Any]) -> Any:
            async with gate:
                return (await concurrent.post("/v1/episodic/search", json=body)).json()

        together = await asyncio.gather(*(ask(body) for body in questions + questions[:100]))
        for body, found in zip(questions + questions[:100], together, strict=True):
            alone = (await plain.post("/v1/episodic/search", json=body)).json()
            assert found["memories"] == alone["memories"]
            assert found["exact"] == alone["exact"]
