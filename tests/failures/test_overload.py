"""Callers that leave, too many callers, too little time: nobody gets another's answer."""

import asyncio
import random
from typing import Any

import httpx
import numpy as np
import pytest
from redis.asyncio import Redis

from app.errors import Overloaded
from app.model import Answer, EpisodicFilter, EpisodicQuestion
from app.nodes.client import create_redis, execute
from app.nodes.node import RedisNode
from app.nodes.redis_errors import translated
from app.nodes.shard import Shard, Shards
from app.nodes.shared_connection import SharedConnection
from app.settings import Settings
from app.storage.index import Indexes
from app.storage.search import VectorSearch
from tests.conftest import DIMENSION, running_service

MEMORIES = 200


def vector(number: int) -> list[float]:
    return [float(x) for x in np.random.default_rng(number).normal(size=DIMENSION)]


def memory(number: int) -> dict[str, Any]:
    return {
        "id": f"m{number}",
        "agent_id": "a",
        "product_id": "p",
        "regime": "r",
        "state_vector": vector(number),
    }


async def fill(api: httpx.AsyncClient) -> None:
    batch = [memory(number) for number in range(MEMORIES)]
    assert (await api.post("/v1/episodic/batch", json={"memories": batch})).json()["failed"] == 0


def question(number: int) -> EpisodicQuestion:
    return EpisodicQuestion(
        agent_id="a",
        vector=np.array(vector(number), "<f4").tobytes(),
        top_k=1,
        scope="own",
        filter=EpisodicFilter(),
        max_distance=None,
        exact=False,
        include_vectors=False,
        consistency="eventual",
    )


def small_client(settings: Settings, *, connections: int, wait_s: float) -> Redis:
    small = settings.model_copy(
        update={"redis_max_connections": connections, "redis_pool_wait_s": wait_s}
    )
    assert small.redis_url is not None
    return create_redis(small.redis_url.get_secret_value(), client_name="t", settings=small)


@pytest.mark.parametrize("way", ["pool", "shared connection"])
async def test_cancelled_calls_leave_no_reply_for_the_next_caller(
    api: httpx.AsyncClient, settings: Settings, way: str
) -> None:
    """Thousands of calls on few connections, or on one, half of them cancelled at any moment."""
    await fill(api)
    client = small_client(settings, connections=4, wait_s=30)
    is_shared = way == "shared connection"
    shared = SharedConnection(client, read_timeout_s=30) if is_shared else None
    node = RedisNode(
        "n", client=client, waiting=client, probe=client, is_master=True, shared=shared
    )
    shard = Shard()
    shard.set_roles(node)
    shards = Shards([shard])
    indexes = Indexes(shards, layout="per_agent", dimension=DIMENSION, wait_s=5)
    search = VectorSearch(indexes, timeout_ms=1000)
    chance = random.Random(1)
    answered = cancelled = 0

    async def ask(number: int) -> None:
        (answer,) = await search.recall_many(node, [question(number)])
        assert isinstance(answer, Answer)
        assert f'"id":"m{number}"'.encode() in answer.hits[0].record

    async def caller(seed: int) -> None:
        nonlocal answered, cancelled
        for step in range(100):
            number = (seed * 31 + step) % MEMORIES
            task = asyncio.create_task(ask(number))
            if chance.random() < 0.5:
                # From before the command is sent until after its reply has come.
                await asyncio.sleep(chance.choice([0, 0, 0.0002, 0.0005, 0.001, 0.002]))
                task.cancel()
            try:
                await task
                answered += 1
            except asyncio.CancelledError:
                cancelled += 1

    try:
        await asyncio.gather(*(caller(seed) for seed in range(40)))
    finally:
        if shared is not None:
            await shared.aclose()
        await client.aclose()
    # How many of the 2,000 were still under way when their time came depends on the machine.
    assert cancelled > 300
    assert answered > 1800


async def test_deadlines_under_load_cross_no_answers(settings: Settings) -> None:
    """Requests that are given up by their deadline, among others that are not."""
    all_from_redis = {"cache_enabled": False, "resident_max_bytes": 0}
    async with running_service(settings.model_copy(update=all_from_redis)) as api:
        await fill(api)
        late = in_time = 0

        async def agent(seed: int) -> None:
            nonlocal late, in_time
            for step in range(30):
                number = (seed * 17 + step) % MEMORIES
                body = {"agent_id": "a", "state_vector": vector(number), "top_k": 1}
                headers = {"X-Deadline-Ms": "1"} if step % 2 else {}
                answer = await api.post("/v1/episodic/search", json=body, headers=headers)
                if answer.status_code == 200:
                    in_time += 1
                    assert answer.json()["memories"][0]["id"] == f"m{number}"
                else:
                    late += 1
                    assert answer.status_code == 504
                    assert answer.json()["code"] == "deadline_exceeded"
                    assert answer.json()["retryable"] is True

        await asyncio.gather(*(agent(seed) for seed in range(40)))
    assert late > 50
    assert in_time >= 600


async def test_wrong_deadline_names_the_header(api: httpx.AsyncClient) -> None:
    for wrong in ("0", "-1", "soon", "1.5", "600001"):
        answer = await api.get("/readyz", headers={"X-Deadline-Ms": wrong})
        assert (answer.status_code, answer.json()["field"]) == (422, "X-Deadline-Ms")
    assert (await api.get("/readyz", headers={"X-Deadline-Ms": "600000"})).status_code == 200


async def test_used_up_pool_waits_then_refuses(settings: Settings, redis: Redis) -> None:
    async def hold(client: Redis, key: str) -> object:
        with translated():
            return await execute(client, "BLPOP", key, 0)

    async def used_up(client: Redis, key: str) -> list[asyncio.Task[object]]:
        """Take both connections, until somebody pushes to the key."""
        held = [asyncio.create_task(hold(client, key)) for _ in range(2)]
        async with asyncio.timeout(60):
            while (await redis.info("clients"))["blocked_clients"] < len(held):
                await asyncio.sleep(0.01)
        return held

    patient = small_client(settings, connections=2, wait_s=30)
    try:
        held = await used_up(patient, "patient")
        waiting = asyncio.ensure_future(patient.ping())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        await redis.rpush("patient", "1", "2")
        assert await waiting, "a connection came free within the wait"
        await asyncio.gather(*held)
    finally:
        await patient.aclose()
    hasty = small_client(settings, connections=2, wait_s=0.2)
    try:
        held = await used_up(hasty, "hasty")
        with pytest.raises(Overloaded) as caught, translated():
            await hasty.ping()
        error = caught.value
        assert (error.code, error.status, error.retry_after_s) == ("overloaded", 503, 1)
        await redis.rpush("hasty", "1", "2")
        await asyncio.gather(*held)
    finally:
        await hasty.aclose()


async def test_overloaded_service_says_when_to_come_back(settings: Settings) -> None:
    narrow = settings.model_copy(
        update={"batch_max_waiting": 1, "batch_max_queries": 1, "cache_enabled": False}
    )
    async with running_service(narrow) as api:
        await fill(api)
        bodies = [{"agent_id": "a", "state_vector": vector(n)} for n in range(MEMORIES)]
        answers = await asyncio.gather(
            *(api.post("/v1/episodic/search", json=body) for body in bodies)
        )
    refused = [answer for answer in answers if answer.status_code != 200]
    for answer in refused:
        assert answer.status_code == 503
        assert answer.json()["code"] == "overloaded"
        assert answer.headers["retry-after"] == "1"
