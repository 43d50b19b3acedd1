"""Questions over several shards: merged, and honest about a shard that does not answer."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from app.errors import MemoryServiceError, StorageUnavailable
from app.model import (
    Answer,
    EpisodicFilter,
    EpisodicQuestion,
    Hit,
    Question,
    RegimePolicy,
    RegimeStep,
)
from app.nodes.node import RedisNode
from app.nodes.redis_errors import AgentMoving
from app.read_path.sharded import ShardedRecall, merged
from app.read_path.stage import NodeGroup, Recall


class Group:
    """One shard whose agents' memories lie at these distances."""

    def __init__(self, name: str, distances: Sequence[float]) -> None:
        self.name = name
        self.distances = distances
        self.failures: list[MemoryServiceError] = []
        self.asked: list[Question] = []
        self.hangs = self.is_away = False

    @property
    def master(self) -> RedisNode:
        raise AssertionError("no token was given")

    @property
    def has_lease(self) -> bool:
        return True

    @property
    def replicas(self) -> Sequence[RedisNode]:
        return ()

    async def recall(self, question: Question) -> Answer:
        self.asked.append(question)
        if self.hangs:
            await asyncio.Event().wait()
        if self.failures:
            raise self.failures.pop(0)
        hits = tuple(Hit(self.name.encode(), distance) for distance in self.distances)
        return Answer(hits, exact=True, partial=False, served_by=self.name)


class Map:
    """Agents `a...` are on the first shard, others on the second."""

    allows_partial = True

    def __init__(self) -> None:
        self.first, self.second = Group("first", [0.1, 0.4]), Group("second", [0.2, 0.3])
        self.moved_on: set[str] = set()

    def __iter__(self) -> Iterator[Group]:
        return iter((self.first, self.second))

    def group_of(self, owner: str) -> Group:
        return self.first if owner.startswith("a") else self.second

    known_group_of = group_of

    async def locate_group(self, owner: str) -> Group:
        return self.group_of(owner)

    async def locate_latest(self, owner: str) -> Group:
        return self.second if owner in self.moved_on else self.group_of(owner)

    def knows(self, token: str) -> bool:
        return bool(token)


def lane(group: NodeGroup) -> Recall:
    assert isinstance(group, Group)
    return group


def sharded(shards: Map) -> ShardedRecall:
    return ShardedRecall(shards, lane, part_timeout_s=0.05)


def question(
    scope: str = "all", *, top_k: int = 3, policy: RegimePolicy = "strict"
) -> EpisodicQuestion:
    return EpisodicQuestion(
        agent_id="a1",
        vector=b"",
        top_k=top_k,
        scope="own" if scope == "own" else "all" if scope == "all" else "others",
        filter=EpisodicFilter(),
        max_distance=None,
        exact=False,
        include_vectors=False,
        consistency="eventual",
        regime_policy=policy,
    )


async def test_answers_of_all_shards_are_one_nearest_first() -> None:
    shards = Map()
    answer = await sharded(shards).recall(question("others"))
    assert [hit.distance for hit in answer.hits] == [0.1, 0.2, 0.3]
    assert (answer.exact, answer.partial, answer.served_by) == (True, False, "first, second")
    assert [group.asked for group in shards] == [[question("others")]] * 2


async def test_shard_that_is_away_makes_the_answer_partial_and_not_exact() -> None:
    shards = Map()
    shards.second.failures = [StorageUnavailable("away")]
    answer = await sharded(shards).recall(question())
    assert [hit.distance for hit in answer.hits] == [0.1, 0.4]
    assert (answer.exact, answer.partial) == (False, True)
    assert answer.silent_groups == ("second",)


@pytest.mark.parametrize("is_known", [False, True])
async def test_shard_that_hangs_is_not_waited_for(is_known: bool) -> None:
    shards = Map()
    shards.second.hangs = True
    shards.second.is_away = is_known
    answer = await sharded(shards).recall(question())  # without a deadline
    assert (answer.partial, answer.silent_groups) == (True, ("second",))
    assert len(shards.second.asked) == (0 if is_known else 1)


async def test_partial_answers_may_be_refused() -> None:
    shards = Map()
    shards.allows_partial = False
    shards.second.failures = [StorageUnavailable("away")]
    with pytest.raises(StorageUnavailable):
        await sharded(shards).recall(question())


async def test_no_shard_answers() -> None:
    shards = Map()
    shards.first.failures = [StorageUnavailable("away")]
    shards.second.failures = [StorageUnavailable("away")]
    with pytest.raises(StorageUnavailable):
        await sharded(shards).recall(question())


def answer(*hits: Hit) -> Answer:
    return Answer(hits, exact=True, partial=False, served_by="")


def step_and_distance(hit: Hit) -> tuple[RegimeStep | None, float]:
    return hit.regime_step, hit.distance


def test_parts_that_prefer_a_regime_are_merged_in_that_order() -> None:
    near, far = Hit(b"", 0.1, regime_step="other"), Hit(b"", 0.9, regime_step="asked")
    parts = [answer(far, near), answer(Hit(b"", 0.95, regime_step="asked"))]
    whole = merged(parts, question(policy="prefer"))
    assert [*map(step_and_distance, whole.hits)] == [
        ("asked", 0.9),
        ("asked", 0.95),
        ("other", 0.1),
    ]


@pytest.mark.parametrize("policy", ["strict", "prefer", "any"])
def test_several_parts_give_what_one_shard_would(policy: RegimePolicy) -> None:
    """However the hits are dealt out, and however many are asked for."""
    chance = random.Random(7)
    for _ in range(200):
        steps: list[RegimeStep | None] = [None] if policy == "strict" else ["asked", "other"]
        count = chance.randint(1, 20)
        hits = [Hit(b"", chance.random(), regime_step=chance.choice(steps)) for _ in range(count)]
        if policy == "prefer":
            hits.sort(key=lambda hit: (hit.regime_step == "other", hit.distance))
        else:
            hits.sort(key=lambda hit: hit.distance)
        top_k = chance.randint(1, 25)
        dealt: list[list[Hit]] = [[] for _ in range(chance.randint(2, 4))]
        for hit in hits:
            chance.choice(dealt).append(hit)
        parts = [answer(*part[:top_k]) for part in dealt]
        whole = merged(parts, question(top_k=top_k, policy=policy))
        assert list(whole.hits) == hits[:top_k]


async def test_agent_that_has_moved_on_is_asked_where_it_is() -> None:
    """Strong questions make sure of it; others learn it from the group that has nothing left."""
    shards = Map()
    shards.moved_on.add("a1")
    strong = replace(question("own"), consistency="strong")
    assert (await sharded(shards).recall(strong)).served_by == "second"
    assert (await sharded(shards).recall(question("own"))).served_by == "first"
    shards.first.failures = [AgentMoving("moved")]
    assert (await sharded(shards).recall(question("own"))).served_by == "second"
