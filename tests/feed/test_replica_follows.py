"""Random lives of a memory, its feed trimmed and cut: the replica says what the service says.

The model that the service itself is tested by (tests/api/test_against_model.py) says what there is.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.embedded import EmbeddedNode
from app.nodes.shard import lone_shard
from app.settings import Settings
from app.storage.index import Indexes, partition_of
from app.transfer.read_memory import HashWalk
from app.transfer.write_memory import MemoryRestorer
from coinswarm_memory import AsyncMemory
from coinswarm_memory._async import replica
from tests.api.test_against_model import (
    ACTIONS,
    FIELDS,
    IDS,
    PRODUCTS,
    REGIMES,
    REWARDS,
    TIMES,
    conditions,
)
from tests.conftest import DIMENSION, running_service

AGENT = "follower"
STREAM = f"episodic_changes:{{{AGENT}}}"
VECTORS = np.random.default_rng(3).standard_normal((60, DIMENSION)).astype("f4").tolist()
vectors = st.sampled_from(VECTORS)
memories = st.fixed_dictionaries(
    FIELDS
    | {
        "agent_id": st.just(AGENT),
        "state_vector": vectors,
        "outcome_at": st.none() | st.sampled_from([TIMES[-1], TIMES[-1] + 5]),
    }
)
ids = st.sampled_from(IDS)
operations = st.one_of(
    st.tuples(st.just("store"), memories),
    st.tuples(st.just("batch"), st.lists(memories, min_size=1, max_size=15)),
    st.tuples(st.just("close"), ids, st.sampled_from(REWARDS)),
    st.tuples(st.just("rate"), ids, st.sampled_from([0.0, 0.5, 1.0])),
    st.tuples(st.just("delete"), st.lists(ids, min_size=1, max_size=12)),
    st.tuples(st.just("delete_matching"), conditions),
    st.tuples(st.just("retention")),
    st.tuples(st.just("reimport")),
    st.tuples(st.just("trim"), st.integers(0, 3)),
    st.tuples(st.just("other_history")),
    st.tuples(
        st.just("compare"),
        vectors,
        conditions,
        st.none() | st.sampled_from([*TIMES, TIMES[-1] + 5]),
        st.integers(1, 20),
    ),
)

OF_ALL: list[dict[str, Any]] = [
    {},
    *({"product_id": product} for product in PRODUCTS),
    *({"regime": regime} for regime in REGIMES),
    {"action": ACTIONS[0]},
    {"min_reward": REWARDS[2]},
    {"since": TIMES[1]},
    {"terminal": True},
]
"""What a life is asked in the end: each column shows whether its rows are the right ones."""


class Life:
    """Does each step to the memory of one agent, and compares a replica's answers."""

    def __init__(self, api: httpx.AsyncClient, redis: Redis, memory: AsyncMemory) -> None:
        self.api = api
        self.redis = redis
        self.me = memory.agent(AGENT)
        self.retired = False
        """Whether the service alone knows what there was at an earlier moment."""

    async def store(self, memory: Any) -> None:
        await self.api.post("/v1/episodic", json=memory)

    async def batch(self, batch: Any) -> None:
        await self.api.post("/v1/episodic/batch", json={"memories": batch})

    async def close(self, memory_id: str, reward: float) -> None:
        path = f"/v1/episodic/{AGENT}/{memory_id}/outcome"
        await self.api.post(path, json={"reward": reward})

    async def rate(self, memory_id: str, quality: float) -> None:
        await self.api.patch(f"/v1/episodic/{AGENT}/{memory_id}", json={"quality": quality})

    async def delete(self, memory_ids: list[str]) -> None:
        for memory_id in memory_ids:
            await self.api.delete(f"/v1/episodic/{AGENT}/{memory_id}")

    async def delete_matching(self, wanted: Any) -> None:
        body = {"agent_id": AGENT, "dry_run": False} | wanted
        await self.api.post("/v1/episodic/delete", json=body)
        self.retired = True

    async def retention(self) -> None:
        body = {"agent_id": AGENT, "episodic_max_age_days": 0, "episodic_age_by": "timestamp"}
        await self.api.post("/v1/retention", json=body | {"dry_run": False})
        self.retired = True

    async def reimport(self) -> None:
        shards = lone_shard(self.redis)
        indexes = Indexes(shards, layout="per_agent", dimension=DIMENSION, wait_s=10)
        walk = HashWalk(shards, indexes, timeout_ms=1000)
        partition = partition_of(indexes, AGENT)
        rows = [
            row async for page in walk.pages(partition, after_seq=0, page_rows=50) for row in page
        ]
        await self.delete_matching({})
        await MemoryRestorer(shards, indexes).restore(rows)

    async def trim(self, entries: int) -> None:
        if entries:
            await self.redis.xtrim(STREAM, maxlen=entries, approximate=False)
        else:
            await self.redis.delete(STREAM)

    async def other_history(self) -> None:
        async with self.redis.pipeline(transaction=True) as at_once:
            at_once.execute_command("REPLICAOF", "127.0.0.1", 1)
            at_once.execute_command("REPLICAOF", "NO", "ONE")
            await at_once.execute()

    async def compare(
        self, local: Any, vector: list[float], wanted: Any, as_of: float | None, k: int
    ) -> None:
        asked = {name.removesuffix("_id"): value for name, value in wanted.items()}
        await local.catch_up()
        ours = await local.recall(vector, k=k, as_of=as_of, **asked)
        while ours.served_by != "replica":
            if as_of is not None and self.retired:
                return  # the service has answered
            await asyncio.sleep(0.05)  # its position was lost, and it begins anew
            await local.catch_up()
            ours = await local.recall(vector, k=k, as_of=as_of, **asked)
        theirs = await self.me.recall(vector, k=k, as_of=as_of, consistency="strong", **asked)
        assert theirs.served_by == "master"
        near = [hit.distance for hit in theirs]
        np.testing.assert_allclose([hit.distance for hit in ours], near, atol=1e-6)
        told = {hit.id: hit for hit in ours}
        for hit in theirs:
            if hit.distance < near[-1] - 1e-6 or len(near) < k:  # else one as near may stand there
                assert (told[hit.id].reward, told[hit.id].quality, told[hit.id].metadata) == (
                    hit.reward,
                    hit.quality,
                    hit.metadata,
                )


@pytest.fixture(scope="module", autouse=True)
def _short_pauses() -> Iterator[None]:
    """A replica whose position was lost begins anew within two of them, each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replica, "RETRY_PAUSE_S", 0.01)
        patch.setattr(replica, "MAX_WAIT_S", 0.05)
        yield


@pytest.fixture(scope="module")
async def service(empty_node: EmbeddedNode) -> AsyncIterator[tuple[httpx.AsyncClient, Redis]]:
    chosen = Settings(redis_url=empty_node.url, dimension=DIMENSION, cache_enabled=False)
    async with (
        running_service(chosen) as client,
        Redis.from_url(empty_node.url, protocol=2) as redis,
    ):
        yield client, redis


@settings(
    max_examples=int(os.environ.get("REPLICA_LIVES", "8")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    begun=st.lists(memories, min_size=12, max_size=30),
    steps=st.lists(operations, min_size=5, max_size=25),
    last=st.lists(ids, min_size=4, max_size=12),
)
async def test_random_lives(
    service: tuple[httpx.AsyncClient, Redis], begun: list[Any], steps: list[Any], last: list[str]
) -> None:
    api, redis = service
    await redis.flushall()
    async with AsyncMemory(str(api.base_url), timeout_s=20, dimension=DIMENSION) as memory:
        life = Life(api, redis, memory)
        async with life.me.replica(max_lag_s=60.0) as local:
            at_last = [("compare", VECTORS[0], wanted, None, 1000) for wanted in OF_ALL]
            for kind, *rest in [("batch", begun), *steps, ("delete", last), *at_last]:
                arguments = [local, *rest] if kind == "compare" else rest
                await getattr(life, kind)(*arguments)
