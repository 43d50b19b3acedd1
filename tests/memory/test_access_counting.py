"""Hits are counted once each, whichever process counts, sends or folds them, and in what order."""

import asyncio
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from app import keys
from app.errors import StorageTimeout
from app.memory.access_counting import AccessCounting
from app.model import Accesses, SemanticMemory
from app.nodes.job_lock import JobLock
from app.nodes.shard import lone_shard
from app.storage.access_counters import AccessBatch, AccessStore, day_of
from tests.conftest import DIMENSION
from tests.kit.storage_parts import semantic_store, storage_parts

IDS = ["a", "b:c", "d"]
START_S = 1_800_000_000.25


class Clock:
    """A time that tests set."""

    def __init__(self) -> None:
        self.now = START_S

    def __call__(self) -> float:
        return self.now


class ForgetfulStore(AccessStore):
    """Redis does what it is told, but its next reply is lost."""

    loses_reply = False

    async def add(self, batch: AccessBatch) -> list[Accesses]:
        known = await super().add(batch)
        if self.loses_reply:
            self.loses_reply = False
            raise StorageTimeout("lost")
        return known


async def store_concept(redis: Redis, memory_id: str) -> None:
    vector = b"\x00\x00\x80\x3f" * DIMENSION
    memory = SemanticMemory(memory_id, "PATTERN", "bull", vector, 1.0, 0.5, START_S, {}, False, b"")
    parts = storage_parts(redis)
    await semantic_store(parts).store_many([memory])


class SlowStore(AccessStore):
    """Its folds take half a second."""

    async def fold(self, *, max_s: float = math.inf) -> int:
        await asyncio.sleep(0.5)
        return await super().fold(max_s=max_s)


class World:
    """Two processes on one Redis, and what they must have counted."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.clock = Clock()
        parts = storage_parts(redis)
        self.moved = parts.moved
        self.stores = [
            ForgetfulStore(lone_shard(redis), parts.reads, parts.store, process=name)
            for name in "01"
        ]
        self.processes = [self._process(store) for store in self.stores]
        self.total: Counter[tuple[int, str]] = Counter()
        self.unsent: list[Counter[tuple[int, str]]] = [Counter(), Counter()]
        self.own: list[Counter[tuple[int, str]]] = [Counter(), Counter()]
        self.is_unsure = [False, False]
        self.by_day: Counter[tuple[int, int]] = Counter()
        self.last: dict[tuple[int, str], float] = {}

    def _process(self, store: AccessStore) -> AccessCounting:
        return AccessCounting(
            store, JobLock(lone_shard(self.redis)), fold_interval_s=1, now=self.clock
        )

    async def seq(self, memory_id: str) -> int:
        return int(await self.redis.hget(keys.semantic_memory(memory_id), "seq") or 0)

    async def hit(self, process: int, ids: set[str]) -> None:
        found = [Accesses(i, seq, 0, None) for i in sorted(ids) if (seq := await self.seq(i))]
        self.processes[process].count(found)
        for accesses in found:
            concept = (accesses.seq, accesses.id)
            self.total[concept] += 1
            self.unsent[process][concept] += 1
            self.own[process][concept] += 1
            self.by_day[day_of(self.clock.now), accesses.seq] += 1
            self.last[concept] = self.clock.now

    async def folded(self, memory_id: str) -> Accesses:
        """A concept as a search finds it."""
        concept = keys.semantic_memory(memory_id)
        found = await self.redis.hmget(concept, "seq", "access_count", "last_accessed")
        seq, count, last = (float(value or -1) for value in found)
        return Accesses(memory_id, int(seq), int(count), last or None)

    async def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    async def flush(self, process: int) -> None:
        await self.processes[process].flush()
        self.unsent[process].clear()
        self.is_unsure[process] = False

    async def flush_without_reply(self, process: int) -> None:
        self.stores[process].loses_reply = bool(self.unsent[process])
        if self.unsent[process]:
            with pytest.raises(StorageTimeout):
                await self.processes[process].flush()
            self.is_unsure[process] = True
        self.stores[process].loses_reply = False

    async def fold(self) -> None:
        await asyncio.gather(*(store.fold() for store in self.stores))

    async def replace(self, memory_id: str) -> None:
        await self.redis.unlink(keys.semantic_memory(memory_id))
        await store_concept(self.redis, memory_id)

    async def check_live(self) -> None:
        for process, other in ((0, 1), (1, 0)):
            # What the other one sent without hearing of it may or may not count here.
            live = await self.processes[process].read(IDS)
            for memory_id in IDS:
                concept = (await self.seq(memory_id), memory_id)
                low = self.total[concept] - self.unsent[other][concept]
                assert low <= live[memory_id].count <= self.total[concept]
                if not self.unsent[other]:
                    assert live[memory_id].last_accessed == self.last.get(concept)
                folded = await self.folded(memory_id)
                (told,) = self.processes[process].live([folded])
                assert told.count >= max(folded.count, self.own[process][concept])
                twice = self.unsent[process][concept] if self.is_unsure[process] else 0
                assert told.count <= self.total[concept] + twice

    async def check_end(self) -> None:
        for process in (0, 1):
            await self.flush(process)
        await self.fold()
        assert await self.redis.hlen(keys.ACCESS_UNFOLDED) == 0
        assert await self.redis.hlen(keys.ACCESS_LAST) == 0
        for memory_id in IDS:
            seq = await self.seq(memory_id)
            folded = await self.redis.hmget(
                keys.semantic_memory(memory_id), "access_count", "last_accessed"
            )
            assert int(folded[0] or -1) == self.total[seq, memory_id]
            assert float(folded[1] or -1) == self.last.get((seq, memory_id), 0)
            for (day, counted), hits in self.by_day.items():
                if counted == seq:
                    assert int(await self.redis.hget(keys.access_day(day), str(seq)) or 0) == hits


processes = st.sampled_from([0, 1])
operations = st.one_of(
    st.tuples(st.just("hit"), processes, st.sets(st.sampled_from(IDS), min_size=1)),
    st.tuples(st.just("hit"), processes, st.sets(st.sampled_from(IDS), min_size=1)),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 40_000.0])),
    st.tuples(st.just("flush"), processes),
    st.tuples(st.just("flush_without_reply"), processes),
    st.tuples(st.just("fold")),
    st.tuples(st.just("replace"), st.sampled_from(IDS)),
    st.tuples(st.just("check_live")),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(operations, min_size=5, max_size=40))
async def test_two_processes_lose_and_double_nothing(
    redis: Redis, steps: list[tuple[Any, ...]]
) -> None:
    await redis.flushall()
    for memory_id in IDS:
        await store_concept(redis, memory_id)
    world = World(redis)
    for name, *arguments in steps:
        await getattr(world, name)(*arguments)
    await world.check_live()
    await world.check_end()


async def test_live_counters_are_exact_while_batches_go_out(redis: Redis) -> None:
    await store_concept(redis, "a")
    world = World(redis)
    counting = world.processes[0]
    seq = await world.seq("a")
    done = asyncio.Event()

    async def send() -> None:
        while not done.is_set():
            await counting.fold()

    sending = asyncio.create_task(send())
    for count in range(300):
        assert (await counting.read(["a"]))["a"].count == count
        assert counting.live([await world.folded("a")])[0].count == count
        counting.count([Accesses("a", seq, 0, None)])
    done.set()
    await sending


@pytest.mark.parametrize("folds", [True, False])
async def test_a_late_sender_does_not_set_the_last_access_back(redis: Redis, folds: bool) -> None:
    await store_concept(redis, "a")
    world = World(redis)
    await world.hit(0, {"a"})
    await world.wait(10)
    await world.hit(1, {"a"})
    await world.flush(1)
    if folds:
        await world.processes[1].fold()
    for step in (world.processes[0].flush, world.stores[0].fold):
        await step()
        assert (await world.processes[1].read(["a"]))["a"] == Accesses("a", 1, 2, START_S + 10)


async def test_a_fold_changes_only_what_was_hit(redis: Redis) -> None:
    for memory_id in IDS:
        await store_concept(redis, memory_id)
    world = World(redis)
    await world.hit(0, {"a"})
    await world.hit(0, {"a"})
    assert await world.processes[0].fold() == 1
    assert set(world.moved) == {keys.SEMANTIC_PARTITION}
    world.moved.clear()
    assert await world.processes[0].fold() == 0
    assert world.moved == []


async def test_one_process_folds_in_an_interval(redis: Redis) -> None:
    turns = JobLock(lone_shard(redis))
    assert await turns.take("job", 60)
    assert not await turns.take("job", 60)
    assert await turns.take("other", 60)
    assert 40_000 < await redis.pttl(keys.job_lock("job")) <= 54_000


async def test_a_long_fold_is_followed_by_a_long_rest(redis: Redis) -> None:
    await store_concept(redis, "a")
    parts = storage_parts(redis)
    store = SlowStore(lone_shard(redis), parts.reads, parts.store, process="p")
    counting = AccessCounting(store, JobLock(lone_shard(redis)), fold_interval_s=1.0, now=Clock())
    await counting.fold_in_turn()
    assert await redis.pttl(keys.job_lock("fold_accesses")) > 1000
    assert await redis.get(keys.job_lock("fold_accesses")) == b"held"
    patient = AccessCounting(store, JobLock(lone_shard(redis)), fold_interval_s=3600, now=Clock())
    await redis.delete(keys.job_lock("fold_accesses"))
    await patient.fold_in_turn()
    assert await redis.get(keys.job_lock("fold_accesses")) == b"taken"


async def test_days_of_hits_expire(redis: Redis) -> None:
    await store_concept(redis, "a")
    world = World(redis)
    await world.hit(0, {"a"})
    await world.flush(0)
    assert 31 * 86_400 < await redis.ttl(keys.access_day(day_of(START_S))) <= 32 * 86_400


async def test_another_process_is_seen_when_one_sends_or_it_folds(redis: Redis) -> None:
    await store_concept(redis, "a")
    world = World(redis)
    one, other = world.processes
    for _ in range(3):
        await world.hit(1, {"a"})
    await world.flush(1)
    assert one.live([await world.folded("a")])[0].count == 0
    await world.hit(0, {"a"})
    await world.flush(0)
    assert one.live([await world.folded("a")])[0].count == 4
    await world.hit(1, {"a"})
    await other.fold()
    assert one.live([await world.folded("a")])[0].count == 5


async def test_a_master_that_is_gone_does_not_fail_the_reader() -> None:
    nowhere = Redis.from_url("redis://127.0.0.1:1")
    parts = storage_parts(nowhere)
    store = AccessStore(parts.shards, parts.reads, parts.store, process="p")
    counting = AccessCounting(store, JobLock(parts.shards), fold_interval_s=1, now=Clock())
    found = Accesses("a", 1, 7, 5.0)
    counting.count([found])
    assert counting.live([found]) == [Accesses("a", 1, 8, START_S)]
    await counting.close()
    await nowhere.aclose()
