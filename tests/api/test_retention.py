"""Retention over HTTP and by itself."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app import keys
from app.settings import Settings
from tests.api.test_semantic import concepts
from tests.conftest import DIMENSION, running_service

DAY_S = 86_400.0
BY_MARKET = {"episodic_age_by": "timestamp"}


def experience(memory_id: str, age_days: float, **more: Any) -> dict[str, Any]:
    return {
        "id": memory_id,
        "agent_id": "a",
        "product_id": "p",
        "regime": "r",
        "state_vector": [1.0] * DIMENSION,
        "timestamp": time.time() - age_days * DAY_S,
        **more,
    }


async def fill(api: httpx.AsyncClient) -> None:
    for memory in (
        experience("old", 91),
        experience("pinned", 91, pinned=True),
        experience("new", 89),
    ):
        assert (await api.post("/v1/episodic", json=memory)).status_code == 201


async def experiences(api: httpx.AsyncClient) -> set[str]:
    question = {"agent_id": "a", "state_vector": [1.0] * DIMENSION}
    answer = await api.post("/v1/episodic/search", json=question)
    return {memory["id"] for memory in answer.json()["memories"]}


async def test_a_dry_run_is_the_default(api: httpx.AsyncClient) -> None:
    await fill(api)
    said = (await api.post("/v1/retention", json=BY_MARKET)).json()
    assert (said["dry_run"], said["complete"]) == (True, True)
    assert said["episodic"]["matched"] == 1
    assert said["episodic"]["deleted"] == 0
    assert [removal["id"] for removal in said["episodic"]["sample"]] == ["old"]
    assert await experiences(api) == {"old", "pinned", "new"}


async def test_what_is_removed_is_no_longer_found(api: httpx.AsyncClient) -> None:
    await fill(api)
    assert await experiences(api) == {"old", "pinned", "new"}
    done = (await api.post("/v1/retention", json={"dry_run": False, **BY_MARKET})).json()
    assert done["episodic"]["deleted"] == 1
    assert await experiences(api) == {"pinned", "new"}


async def test_concepts_by_the_two_rules_alone(api: httpx.AsyncClient) -> None:
    low, high, pinned, found = (c | {"sharpe_ratio": 0.5} for c in concepts(4))
    high["sharpe_ratio"] = 1.5
    pinned["pinned"] = True
    for concept in (low, high, pinned, found):
        assert (await api.post("/v1/semantic", json=concept)).status_code == 201
    search = {"concept_vector": found["concept_vector"], "top_k": 1, "exact": True}
    for _ in range(3):
        await api.post("/v1/semantic/search", json=search)
    grace = {"dry_run": False, "semantic": {"min_age_days": 30}}
    young = (await api.post("/v1/retention", json=grace)).json()["semantic"]
    assert (young["matched"], young["kept"]["min_age_days"]) == (0, 2)
    rules = {"keep_access_count_above": 2}
    done = (
        await api.post("/v1/retention", json={"dry_run": False, "semantic": rules})
    ).json()["semantic"]  # fmt: skip
    assert (done["matched"], done["deleted"]) == (1, 1)
    statuses = [(await api.get(f"/v1/semantic/c{i}")).status_code for i in range(4)]
    assert statuses == [404, 200, 200, 200]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"dryrun": True}, "dryrun"),
        ({"dry_run": "no"}, "dry_run"),
        ({"episodic_max_age_days": -1}, "episodic_max_age_days"),
        ({"agent_id": "a{b}"}, "agent_id"),
        ({"semantic": {"keep_access_count_above": -1}}, "semantic.keep_access_count_above"),
    ],
)
async def test_wrong_rules(api: httpx.AsyncClient, wrong: dict[str, Any], field: str) -> None:
    answer = await api.post("/v1/retention", json=wrong)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_by_itself_when_the_settings_say_so(settings: Settings) -> None:
    chosen = settings.model_copy(
        update={
            "retention_interval_s": 0.1,
            "retention_episodic_max_age_days": 90.0,
            "retention_episodic_age_by": "timestamp",
        }
    )
    async with running_service(chosen) as api:
        await fill(api)
        while await experiences(api) != {"pinned", "new"}:
            await asyncio.sleep(0.02)


async def test_one_agents_error_keeps_no_others_from_being_pruned(
    api: httpx.AsyncClient, redis: Redis
) -> None:
    old = {"product_id": "p", "regime": "r", "reward": 1.0, "timestamp": 1.0, "outcome_at": 2.0}
    for agent_id in ("a", "b", "c", "d"):
        memory = {"agent_id": agent_id, "id": "m", "state_vector": [1.0] * DIMENSION} | old
        assert (await api.post("/v1/episodic", json=memory)).status_code == 201
    for agent_id in ("b", "d"):
        partition = keys.episodic_partition(agent_id)
        await redis.delete(partition)
        await redis.set(partition, "not what belongs here")
    alone = await api.post("/v1/retention", json={"dry_run": False, "agent_id": "d", **BY_MARKET})
    assert alone.status_code >= 500
    answer = (await api.post("/v1/retention", json={"dry_run": False, **BY_MARKET})).json()
    assert answer["episodic"]["deleted"] == 2
    assert "b" in [text.partition(":")[0] for text in answer["episodic"]["failed_owners"]]


async def test_history_is_as_old_as_its_storing(api: httpx.AsyncClient) -> None:
    """Ten years of market history that were stored just now are not old."""
    await fill(api)
    assert (await api.get("/v1/episodic/a/old")).json()["recorded_at"] > time.time() - 60
    said = (await api.post("/v1/retention", json={})).json()
    assert (said["episodic"]["age_by"], said["episodic"]["matched"]) == ("recorded_at", 0)
    assert said["warnings"] == []


async def test_a_dry_run_warns_of_an_agent_that_would_lose_everything(
    api: httpx.AsyncClient,
) -> None:
    await fill(api)
    whole = {"episodic_max_age_days": 0, **BY_MARKET}
    said = (await api.post("/v1/retention", json=whole)).json()
    assert said["warnings"] == []  # the pinned one stays
    await api.delete("/v1/episodic/a/pinned")
    said = (await api.post("/v1/retention", json=whole)).json()
    assert said["episodic"]["emptied"] == ["a"]
    assert said["warnings"][0] == "1 agent loses every memory: a."
    assert "market's time" in said["warnings"][1]


async def test_what_a_former_release_stored_stays_by_default(
    api: httpx.AsyncClient, redis: Redis
) -> None:
    await api.post("/v1/episodic", json=experience("former", 500))
    key = "episodic:{a}:former"
    record = json.loads(await redis.hget(key, "record") or b"")
    del record["recorded_at"]
    await redis.hset(key, "record", json.dumps(record))
    await redis.hdel(key, "recorded_at")
    rules = {"episodic_max_age_days": 0, "dry_run": False}
    said = (await api.post("/v1/retention", json=rules)).json()
    assert (said["episodic"]["deleted"], said["episodic"]["kept_undated"]) == (0, 1)
    assert "former release" in said["warnings"][0]
    done = (await api.post("/v1/retention", json=rules | BY_MARKET)).json()
    assert done["episodic"]["deleted"] == 1
