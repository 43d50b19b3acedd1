"""The cache never answers with the past, and never grows beyond its bounds."""

import asyncio
from dataclasses import replace
from typing import Any

from app.model import Answer, Question
from app.read_path.cache import CachedRecall
from app.read_path.stage import SEMANTIC_PARTITION
from app.read_path.versions import MAX_PARTITIONS, PartitionVersions
from tests.kit.fakes import FakeFreshness, FakeNode, ManualClock, answer_to, question, turned


class Cached:
    """A cache and everything around it that a test moves."""

    def __init__(self, **limits: Any) -> None:
        self.node = FakeNode()
        self.versions = PartitionVersions()
        self.clock = ManualClock()
        self.freshness = FakeFreshness()
        defaults = {"ttl_s": 60.0, "max_entries": 100, "max_bytes": 1_000_000}
        self.stage = CachedRecall(
            self.node,
            self.versions,
            freshness=self.freshness,
            clock=self.clock,
            **(defaults | limits),
        )

    async def is_cached(self, asked: Any) -> bool:
        answer = await self.stage.recall(asked)
        assert replace(answer, cached=False) == answer_to(asked)
        return answer.cached


async def test_repeated_question_is_answered_from_the_cache() -> None:
    cached = Cached()
    assert not await cached.is_cached(question(0))
    assert await cached.is_cached(question(0))
    assert len(cached.node.batches) == 1


async def test_every_part_of_the_question_counts() -> None:
    cached = Cached()
    different = [
        question(0),
        question(1),
        question(0, agent_id="b"),
        question(0, top_k=2),
        question(0, scope="all"),
        question(0, filter=replace(question(0).filter, product_id=("x",))),
        question(0, filter=replace(question(0).filter, min_reward=0.0)),
        question(0, max_distance=1.0),
        question(0, exact=True),
        question(0, include_vectors=True),
    ]
    for asked in different:
        assert not await cached.is_cached(asked)
    for asked in different:
        assert await cached.is_cached(asked)


async def test_write_ends_what_was_known_of_its_agent_alone() -> None:
    cached = Cached()
    everyone = question(0, scope="all")
    for asked in (question(0), question(0, agent_id="b"), everyone):
        await cached.is_cached(asked)
    cached.versions.invalidate("a")
    assert not await cached.is_cached(question(0))
    assert await cached.is_cached(question(0, agent_id="b"))
    assert not await cached.is_cached(everyone)
    cached.versions.invalidate(SEMANTIC_PARTITION)
    assert await cached.is_cached(everyone)


async def test_answer_that_was_under_way_during_a_write_is_not_kept() -> None:
    cached = Cached()
    cached.node.gate.clear()
    asking = asyncio.create_task(cached.stage.recall(question(0)))
    await turned()
    cached.versions.invalidate("a")
    cached.node.gate.set()
    await asking
    assert not await cached.is_cached(question(0))


async def test_lost_channel_empties_the_cache() -> None:
    cached = Cached()
    await cached.is_cached(question(0))
    cached.freshness.is_heard = False
    assert not await cached.is_cached(question(0))
    assert not await cached.is_cached(question(0))
    cached.freshness.is_heard = True
    assert not await cached.is_cached(question(0))
    cached.versions.invalidate_all()
    assert not await cached.is_cached(question(0))
    assert await cached.is_cached(question(0))


async def test_answers_expire() -> None:
    cached = Cached(ttl_s=60.0)
    await cached.is_cached(question(0))
    cached.clock.advance(59.9)
    assert await cached.is_cached(question(0))
    cached.clock.advance(0.2)
    assert not await cached.is_cached(question(0))


async def test_least_recently_used_goes_first_when_entries_are_many() -> None:
    cached = Cached(max_entries=2)
    for number in (0, 1):
        await cached.is_cached(question(number))
    await cached.is_cached(question(0))
    await cached.is_cached(question(2))
    assert await cached.is_cached(question(0))
    assert not await cached.is_cached(question(1))


async def test_bytes_are_bounded() -> None:
    cached = Cached(max_bytes=8_000)
    for number in range(100):
        await cached.is_cached(question(number))
    kept = [number for number in range(100) if question(number) in cached.stage._entries]
    assert 0 < len(kept) <= 10
    assert cached.stage._size_bytes <= 8_000
    assert kept[-1] == 99


class Given:
    """A stage that gives this answer."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    async def recall(self, asked: Question) -> Answer:
        return replace(self.answer)


async def test_answers_that_lack_something_and_strong_ones_are_not_kept() -> None:
    cached = Cached()
    strong = question(0, consistency="strong")
    for _ in range(2):
        assert not await cached.is_cached(strong)
    whole = answer_to(question(0))
    kept = []
    for answer in (replace(whole, partial=True), replace(whole, may_lag=True), whole):
        cached.stage._following = Given(answer)
        kept += [(await cached.stage.recall(question(0))).cached for _ in range(2)]
    assert kept == [False, False, False, False, False, True]


def test_versions_are_bounded_and_never_go_back() -> None:
    versions = PartitionVersions()
    versions.invalidate("a")
    before = versions.version(question(0))
    for i in range(MAX_PARTITIONS + 5):
        versions.invalidate(f"agent{i}")
    assert versions.version(question(0)) > before
    assert versions.version(question(0, agent_id="never written")) > 0


async def test_long_lists_of_tags_count_as_bytes() -> None:
    cached = Cached(max_bytes=100_000)
    for number in range(50):
        tags = tuple(f"{number}-{i}-" + "x" * 100 for i in range(100))
        asked = question(number, filter=replace(question(0).filter, product_id=tags))
        await cached.is_cached(asked)
    assert len(cached.stage._entries) <= 2
