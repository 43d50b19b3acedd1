"""Retention removes exactly what the rules say."""

import math
from typing import Any

import pytest
from redis.asyncio import Redis

from app import keys
from app.auth.audit import Audit
from app.contract.retention import Retention, SemanticRules
from app.memory.access_counting import AccessCounting
from app.memory.retention import RetentionOperations
from app.model import Accesses, EpisodicMemory, SemanticMemory
from app.nodes.client import execute
from app.nodes.job_lock import JobLock
from app.settings import Settings
from app.storage.access_counters import AccessStore, day_of
from app.storage.episodic import ExperienceStore
from app.storage.retention import RetentionStore
from app.storage.retired.memories import RetiredExperiences
from tests.conftest import DIMENSION
from tests.kit.storage_parts import semantic_store, storage_parts

DAY_S = 86_400.0
NOW = 20_000 * DAY_S + 40_000.5
VECTOR = b"\x00\x00\x80\x3f" * DIMENSION
NO_PAST = Settings(retention_past_days=0)
GRACE = SemanticRules(min_age_days=30)


class World:
    """A memory with a clock, filled by hand."""

    def __init__(self, redis: Redis, layout: str = "per_agent") -> None:
        self.redis = redis
        self.now = NOW
        self.parts = storage_parts(redis, layout)
        self.retired = RetiredExperiences(
            query=self.parts.query,
            store=self.parts.store,
            reads=self.parts.reads,
            indexes=self.parts.indexes,
        )
        self.episodic = ExperienceStore(self.parts.store, self.parts.indexes, self.retired)
        self.semantic = semantic_store(self.parts)
        turns = JobLock(self.parts.shards)
        counters = AccessStore(self.parts.shards, self.parts.reads, self.parts.store, process="p")
        self.accesses = AccessCounting(counters, turns, fold_interval_s=1, now=lambda: self.now)
        self.retention = RetentionOperations(
            store=RetentionStore(
                query=self.parts.query,
                store=self.parts.store,
                reads=self.parts.reads,
                indexes=self.parts.indexes,
            ),
            retired=self.retired,
            accesses=self.accesses,
            job_lock=turns,
            settings=NO_PAST,
            now=lambda: self.now,
            audit=Audit(),
        )

    async def experience(
        self,
        agent_id: str,
        memory_id: str,
        age_s: float,
        pinned: bool = False,
        market_age_s: float = 0.0,
    ) -> None:
        memory = EpisodicMemory(
            id=memory_id,
            agent_id=agent_id,
            product_id="p",
            regime="r",
            state_vector=VECTOR,
            action=None,
            reward=None,
            timestamp=NOW - age_s - market_age_s,
            outcome_at=None,
            terminal=False,
            next_state_vector=None,
            metadata={},
            pinned=pinned,
            recorded_at=NOW - age_s,
            digest=b"",
        )
        await self.episodic.store_many([memory])

    async def concept(
        self, memory_id: str, *, sharpe: float, age_s: float, pinned: bool = False
    ) -> None:
        concept = SemanticMemory(
            memory_id, "PATTERN", "r", VECTOR, sharpe, 0.5, NOW - age_s, {}, pinned, b""
        )
        await self.semantic.store_many([concept])

    async def found(self, memory_id: str, times: int, when: float) -> None:
        """Searches found a concept so often at a moment."""
        seq = int(await self.redis.hget(keys.semantic_memory(memory_id), "seq") or 0)
        self.now = when
        for _ in range(times):
            self.accesses.count([Accesses(memory_id, seq, 0, None)])
        self.now = NOW

    async def experiences(self) -> set[str]:
        found = await self._keys("episodic:*")
        return {key.partition(":")[2] for key in found}

    async def concepts(self) -> set[str]:
        return {keys.semantic_id(key) for key in await self._keys("semantic:*")}

    async def _keys(self, pattern: str) -> list[str]:
        return [bytes(key).decode() for key in await execute(self.redis, "KEYS", pattern)]


async def fill_experiences(world: World) -> None:
    limit = 90 * DAY_S
    for agent_id in ("a", "b,c"):
        await world.experience(agent_id, "new", 0)
        await world.experience(agent_id, "limit", limit)
        await world.experience(agent_id, "over", limit + 0.5)
        await world.experience(agent_id, "old", 2 * limit)
        await world.experience(agent_id, "pinned", 3 * limit, pinned=True)


@pytest.mark.parametrize("layout", ["per_agent", "shared"])
async def test_experiences_go_by_age(redis: Redis, layout: str) -> None:
    world = World(redis, layout)
    await fill_experiences(world)
    before = await world.experiences()

    said = (await world.retention.run(Retention())).episodic
    assert await world.experiences() == before
    assert (said.matched, said.deleted, said.kept_pinned) == (4, 0, 2)
    assert [(r.agent_id, r.id) for r in said.sample] == [
        ("a", "old"),
        ("b,c", "old"),
        ("a", "over"),
        ("b,c", "over"),
    ]
    assert said.sample[0].reason == "180.00 days since it was stored, more than 90"

    done = (await world.retention.run(Retention(dry_run=False))).episodic
    assert (done.matched, done.deleted) == (4, 4)
    kept = {f"{{{agent}}}:{i}" for agent in ("a", "b,c") for i in ("new", "limit", "pinned")}
    assert await world.experiences() == kept
    again = (await world.retention.run(Retention(dry_run=False))).episodic
    assert (again.matched, again.deleted) == (0, 0)


async def test_one_agent_and_another_age(redis: Redis) -> None:
    world = World(redis)
    await fill_experiences(world)
    await world.concept("c", sharpe=0.0, age_s=400 * DAY_S)
    wanted = Retention(dry_run=False, agent_id="a", episodic_max_age_days=100)
    answer = await world.retention.run(wanted)
    assert (answer.episodic.deleted, answer.semantic) == (1, None)
    assert "{a}:old" not in await world.experiences()
    assert "{b,c}:old" in await world.experiences()
    assert await world.concepts() == {"c"}
    assert set(world.parts.moved) >= {keys.episodic_partition("a")}


async def test_many_experiences_go_in_steps_and_the_index_follows(redis: Redis) -> None:
    world = World(redis)
    for i in range(450):
        await world.experience("a", str(i), 91 * DAY_S)
    answer = await world.retention.run(Retention(dry_run=False))
    assert (answer.episodic.deleted, answer.complete) == (450, True)
    assert len(answer.episodic.sample) == 20
    schema = world.parts.indexes.episodic("a")
    assert await world.parts.query.count(schema, []) == 0


async def test_a_call_that_runs_out_of_time_says_so(redis: Redis) -> None:
    world = World(redis)
    await world.experience("a", "old", 91 * DAY_S)
    answer = await world.retention.run(Retention(dry_run=False), max_s=0)
    assert (answer.episodic.matched, answer.episodic.deleted) == (1, 0)
    assert not answer.complete
    assert await world.experiences() == {"{a}:old"}


async def fill_concepts(world: World) -> None:
    """Each name says what must become of the concept."""
    month = 30 * DAY_S
    day_began = math.floor(NOW / DAY_S) * DAY_S
    old: dict[str, Any] = {"sharpe": 1.0, "age_s": 400 * DAY_S}
    await world.concept("stays: sharpe", sharpe=1.0000000000000002, age_s=400 * DAY_S)
    await world.concept("goes: sharpe at the limit", **old)
    await world.concept("stays: pinned", sharpe=-1.0, age_s=400 * DAY_S, pinned=True)
    await world.concept("stays: young", sharpe=-1.0, age_s=month - 0.5)
    await world.concept("goes: no longer young", sharpe=-1.0, age_s=month)
    await world.concept("stays: 101 now", **old)
    await world.found("stays: 101 now", 101, NOW)
    await world.concept("goes: 100 now", **old)
    await world.found("goes: 100 now", 100, NOW)
    await world.concept("stays: 101 on the thirtieth day", **old)
    await world.found("stays: 101 on the thirtieth day", 101, day_began - month)
    await world.concept("goes: 101 a moment earlier", **old)
    await world.found("goes: 101 a moment earlier", 101, day_began - month - 0.01)
    await world.concept("stays: spread over days", **old)
    for day in range(30):
        await world.found("stays: spread over days", 4, NOW - day * DAY_S)
    await world.concept("goes: 1000 long ago and 1 now", **old)
    await world.found("goes: 1000 long ago and 1 now", 1000, NOW - 32 * DAY_S)
    await world.found("goes: 1000 long ago and 1 now", 1, NOW)


async def test_concepts_go_by_the_rules(redis: Redis) -> None:
    world = World(redis)
    await fill_concepts(world)
    names = await world.concepts()
    assert len(names) == 11

    said = (await world.retention.run(Retention(semantic=GRACE))).semantic
    assert said is not None
    assert await world.concepts() == names
    assert {r.id for r in said.sample} == {name for name in names if name.startswith("goes")}
    assert (said.matched, said.deleted) == (5, 0)
    kept = said.kept
    assert (kept.pinned, kept.sharpe_ratio, kept.min_age_days, kept.access_count) == (1, 1, 1, 3)
    reasons = {r.id: r.reason for r in said.sample}
    assert reasons["goes: 100 now"] == (
        "Sharpe ratio 1 is not above 1, and 100 searches in 30 days are not more than 100"
    )

    done = (await world.retention.run(Retention(dry_run=False, semantic=GRACE))).semantic
    assert done is not None
    assert (done.matched, done.deleted) == (5, 5)
    assert await world.concepts() == {name for name in names if name.startswith("stays")}
    assert await world.parts.query.count(world.parts.indexes.semantic(), []) == 6


async def test_folding_does_not_change_what_counts(redis: Redis) -> None:
    world = World(redis)
    await fill_concepts(world)
    await world.accesses.fold()
    await world.retention.run(Retention(dry_run=False, semantic=GRACE))
    assert all(name.startswith("stays") for name in await world.concepts())


async def test_rules_of_the_request(redis: Redis) -> None:
    world = World(redis)
    await world.concept("young", sharpe=2.0, age_s=0)
    await world.found("young", 5, NOW)
    for rules, goes in (
        (SemanticRules(keep_sharpe_ratio_above=2.0, min_age_days=30), False),
        (SemanticRules(keep_sharpe_ratio_above=2.0), True),
        (
            SemanticRules(keep_sharpe_ratio_above=2.0, min_age_days=0, keep_access_count_above=4),
            False,
        ),
    ):
        said = (await world.retention.run(Retention(semantic=rules))).semantic
        assert said is not None
        assert said.matched == int(goes)


async def test_many_concepts_are_seen_once_each(redis: Redis) -> None:
    world = World(redis)
    for i in range(450):
        await world.concept(f"c{i}", sharpe=0.0, age_s=40 * DAY_S)
    said = (await world.retention.run(Retention(semantic=GRACE))).semantic
    assert said is not None
    assert said.matched == 450
    done = (await world.retention.run(Retention(dry_run=False, semantic=GRACE))).semantic
    assert done is not None
    assert (done.matched, done.deleted) == (450, 450)
    assert await world.concepts() == set()


async def test_what_was_pinned_or_found_meanwhile_stays(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(redis)
    for name in ("pinned", "found", "better", "renewed", "gone"):
        await world.concept(name, sharpe=0.0, age_s=40 * DAY_S)
    await world.experience("a", "pinned", 100 * DAY_S)
    forget_concepts = RetentionStore.forget_concepts
    forget_experiences = world.parts.query.keys

    async def change_then_forget(store: RetentionStore, *arguments: Any) -> int:
        await redis.hset(keys.semantic_memory("pinned"), "pinned", "true")
        await redis.hset(keys.semantic_memory("better"), "sharpe_ratio", "1.5")
        await redis.hset(keys.semantic_memory("renewed"), "created_at", str(NOW))
        seq = int(await redis.hget(keys.semantic_memory("found"), "seq") or 0)
        await redis.hincrby(keys.access_day(day_of(NOW)), str(seq), 101)
        return await forget_concepts(store, *arguments)

    async def find_then_pin(*arguments: Any) -> list[bytes]:
        found = await forget_experiences(*arguments)
        await redis.hset(keys.episodic_memory("a", "pinned"), "pinned", "true")
        return found

    monkeypatch.setattr(RetentionStore, "forget_concepts", change_then_forget)
    monkeypatch.setattr(world.parts.query, "keys", find_then_pin)
    answer = await world.retention.run(Retention(dry_run=False, semantic=GRACE))
    assert answer.semantic is not None
    assert (answer.semantic.matched, answer.semantic.deleted) == (5, 1)
    assert await world.concepts() == {"pinned", "found", "better", "renewed"}
    assert (answer.episodic.matched, answer.episodic.deleted) == (1, 0)
    assert await world.experiences() == {"{a}:pinned"}


async def test_the_background_job_removes_in_turn(redis: Redis) -> None:
    world = World(redis)
    await fill_experiences(world)
    await world.retention.run_in_turn(60)
    assert len(await world.experiences()) == 6
    await world.experience("a", "old", 200 * DAY_S)
    await world.retention.run_in_turn(60)
    assert len(await world.experiences()) == 7


async def test_an_empty_memory_is_no_error(redis: Redis) -> None:
    answer = await World(redis).retention.run(Retention(dry_run=False))
    assert answer.semantic is not None
    assert (answer.episodic.matched, answer.semantic.matched, answer.complete) == (0, 0, True)
