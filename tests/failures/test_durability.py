"""What a confirmed write is worth, at each level, on a real master and two replicas."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.decisions.recall_ids import Shares, new_recall_id
from app.settings import Settings
from tests.conftest import DIMENSION, running_service
from tests.kit.replica_set import ReplicaSet, raw, replica_set

LEVEL = "X-Durability"
REPLICATED = {LEVEL: "replicated"}
VECTOR = [1.0] * DIMENSION
CONCEPT = {
    "id": "c",
    "memory_type": "PATTERN",
    "regime_name": "r",
    "concept_vector": VECTOR,
    "sharpe_ratio": 1.0,
    "win_rate": 0.5,
}


def experience(memory_id: str, **fields: Any) -> dict[str, Any]:
    names = {"id": memory_id, "agent_id": "a", "product_id": "p", "regime": "r"}
    return {**names, "state_vector": VECTOR, **fields}


@pytest.fixture(scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplicaSet]:
    folder: Path = tmp_path_factory.mktemp("nodes")
    async with replica_set(
        folder, durability_timeout_ms=25_000, redis_read_timeout_s=60
    ) as started:
        yield started


@asynccontextmanager
async def paused_replicas(nodes: ReplicaSet) -> AsyncIterator[None]:
    paused = [await nodes.signal(name, signal.SIGSTOP) for name in ("replica-1", "replica-2")]
    try:
        yield
    finally:
        for process_id in paused:
            os.kill(process_id, signal.SIGCONT)
        await nodes.until_in_rotation("replica-1", "replica-2")


@pytest.mark.parametrize("level", ["memory", "replicated", "fsynced"])
async def test_every_write_says_what_it_reached(nodes: ReplicaSet, level: str) -> None:
    agent = {"agent_id": f"every-{level}"}
    path = f"/v1/episodic/{agent['agent_id']}"
    concept = CONCEPT | {"id": f"c-{level}"}
    recall = recall_of(agent["agent_id"])
    writes: list[tuple[str, str, Any]] = [
        ("POST", "/v1/episodic", experience("one", **agent)),
        ("POST", "/v1/episodic", experience("one", **agent)),
        ("POST", "/v1/episodic/batch", {"memories": [experience("two", **agent)]}),
        ("POST", f"{path}/one/outcome", {"reward": 0.5}),
        ("POST", "/v1/decisions", {"recall_id": recall, "action": "buy"}),
        ("POST", f"/v1/decisions/{recall}/outcome", {"reward": 0.5}),
        ("POST", f"{path}/one/outcome", {"reward": 0.5}),
        ("DELETE", f"{path}/one", None),
        ("POST", "/v1/episodic/delete", {**agent, "dry_run": False}),
        ("POST", "/v1/semantic", concept),
        ("POST", "/v1/semantic/batch", {"memories": [concept]}),
        ("PATCH", f"/v1/semantic/c-{level}", {"win_rate": 0.6}),
        ("DELETE", f"/v1/semantic/c-{level}", None),
        ("POST", "/v1/semantic/delete", {"dry_run": False}),
    ]
    if level == "fsynced":  # a second each: the disk is written to once a second
        del writes[5:]
    for method, url, body in writes:
        answer = await nodes.api.request(method, url, json=body, headers={LEVEL: level})
        assert answer.is_success, answer.text
        assert answer.headers[LEVEL] == level, url
        assert answer.status_code == 204 or answer.json()["durability"] == level, url


def recall_of(agent_id: str) -> str:
    return new_recall_id(agent_id, "memory", Shares(1, 1), b"12345678", time.time())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/distances"),
        ("DELETE", "/v1/distances/a:x"),
        ("PUT", "/v1/distances/a:x/promotion"),
        ("DELETE", "/v1/distances/a:x/promotion"),
        ("POST", "/v1/evaluate"),
        ("DELETE", "/v1/evaluate/x"),
        ("POST", "/v1/agents/a/move"),
    ],
)
async def test_what_waits_for_nothing_refuses_to_be_asked_for_more(
    nodes: ReplicaSet, method: str, path: str
) -> None:
    refused = await nodes.api.request(method, path, headers=REPLICATED)
    assert (refused.status_code, refused.json()["field"]) == (422, LEVEL)
    other = await nodes.api.request(method, path, headers={LEVEL: "memory"})
    assert other.json().get("field") != LEVEL


async def test_every_writing_route_takes_the_header(nodes: ReplicaSet) -> None:
    paths = (await nodes.api.get("/openapi.json")).json()["paths"]
    without = {
        path
        for path, operations in paths.items()
        for method, operation in operations.items()
        if method != "get"
        and LEVEL not in {parameter["name"] for parameter in operation.get("parameters", [])}
    }
    reads = ("search", "search/batch", "query", "estimate", "sample")
    assert without == {
        *(f"/v1/episodic/{read}" for read in reads),
        *(f"/v1/semantic/{read}" for read in ("search", "query")),
    }


async def test_what_no_replica_has_is_not_confirmed_and_neither_is_its_repetition(
    nodes: ReplicaSet,
) -> None:
    """The repetition writes nothing: that must not pass for its being replicated."""
    memory = experience("unsafe", reward=None)
    url = "/v1/episodic/a/unsafe/outcome"
    brief = nodes.settings.model_copy(update={"durability_timeout_ms": 200})
    async with running_service(brief) as api, paused_replicas(nodes):
        for level in ("replicated", "fsynced"):
            for _ in range(2):
                refused = await api.post("/v1/episodic", json=memory, headers={LEVEL: level})
                problem = refused.json()
                assert (refused.status_code, problem["code"]) == (503, "durability_not_reached")
                assert problem["retryable"] is True
        assert (await api.post(url, json={"reward": 1.0})).status_code == 200
        refused = await api.post(url, json={"reward": 1.0}, headers=REPLICATED)
        assert refused.json()["code"] == "durability_not_reached"
        batch = {"memories": [memory]}
        recall = recall_of("a")
        decision = {"recall_id": recall, "action": "buy"}
        for path, body in (
            ("/v1/episodic/batch", batch),
            ("/v1/decisions", decision),
            ("/v1/decisions", decision),
            (f"/v1/decisions/{recall}/outcome", {"reward": 1.0}),
        ):
            refused = await api.post(path, json=body, headers=REPLICATED)
            assert refused.json()["code"] == "durability_not_reached", refused.text
        assert (await api.get("/v1/episodic/a/unsafe")).status_code == 200
    again = await nodes.api.post("/v1/episodic", json=memory, headers=REPLICATED)
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert again.json()["durability"] == "replicated"
    found = []
    for node in nodes.topology.replicas:
        async with raw(node.url) as client:
            found.append(await client.exists("episodic:{a}:unsafe"))
    assert 1 in found


async def test_writes_that_wait_hold_up_no_others(nodes: ReplicaSet) -> None:
    patient = {"durability_timeout_ms": 60_000, "redis_read_timeout_s": 90.0}
    settings = nodes.settings.model_copy(update=patient | {"default_deadline_ms": 120_000})
    async with running_service(settings) as api:
        async with paused_replicas(nodes):
            waiting = [
                asyncio.create_task(
                    api.post("/v1/episodic", json=experience(f"w{i}"), headers=REPLICATED)
                )
                for i in range(settings.redis_max_connections)
            ]
            async with raw(nodes.topology.master.url) as client, asyncio.timeout(40):
                while (await client.info("clients"))["blocked_clients"] < len(waiting):
                    await asyncio.sleep(0.02)
            for i in range(20):
                stored = await api.post("/v1/episodic", json=experience(f"quick{i}"))
                assert stored.status_code == 201
            assert not any(task.done() for task in waiting)
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {201}


async def test_master_without_enough_replicas_says_so(nodes: ReplicaSet) -> None:
    async with raw(nodes.topology.master.url) as client:
        await client.config_set("min-replicas-to-write", 3)
        try:
            refused = await nodes.api.post("/v1/episodic", json=experience("few"))
        finally:
            await client.config_set("min-replicas-to-write", 0)
    assert (refused.status_code, refused.json()["code"]) == (503, "too_few_replicas")
    assert refused.json()["retryable"] is True


async def test_without_replicas_a_write_is_never_replicated(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    async with running_service(settings.model_copy(update={"durability_timeout_ms": 50})) as quick:
        refused = await quick.post("/v1/episodic", json=experience("x"), headers=REPLICATED)
        assert refused.json()["code"] == "durability_not_reached"
    stored = await api.post("/v1/episodic", json=experience("y"), headers={LEVEL: "fsynced"})
    assert stored.json()["durability"] == "fsynced"
    plain = await api.post("/v1/episodic", json=experience("z"))
    assert plain.json()["durability"] == "memory"


async def test_level_is_of_the_settings_unless_the_request_names_one(settings: Settings) -> None:
    async with running_service(settings.model_copy(update={"durability": "fsynced"})) as api:
        stored = await api.post("/v1/episodic", json=experience("x"))
        assert stored.json()["durability"] == "fsynced"
        asked = await api.post("/v1/episodic", json=experience("x"), headers={LEVEL: "memory"})
        assert asked.json()["durability"] == "memory"
        wrong = await api.post("/v1/episodic", json=experience("x"), headers={LEVEL: "eternal"})
        assert (wrong.status_code, wrong.json()["field"]) == (422, LEVEL)


async def test_wait_ends_with_the_request(api: httpx.AsyncClient) -> None:
    """The answer says what was not reached, sooner than that the time is over."""
    headers = REPLICATED | {"X-Deadline-Ms": "400"}
    late = await api.post("/v1/episodic", json=experience("x"), headers=headers)
    assert late.json()["code"] == "durability_not_reached", late.text
