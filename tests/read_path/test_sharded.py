"""Questions over several shards: merged, and honest about a shard that does not answer."""

from collections.abc import Sequence

import pytest

from app.errors import MemoryServiceError, StorageMoving, StorageUnavailable
from app.filters import EpisodicFilter
from app.read_path.sharded import ShardedRecall
from app.read_path.stage import NodeGroup, NodeRecall, Question, Recall
from app.records import Answer, EpisodicQuestion, Hit


class Group:
    """One shard whose agents' memories lie at these distances."""

    def __init__(self, name: str, distances: Sequence[float]) -> None:
        self.name = name
        self.distances = distances
        self.failures: list[MemoryServiceError] = []
        self.asked: list[Question] = []

    @property
    def master(self) -> NodeRecall:
        raise AssertionError("no token was given")

    @property
    def is_master_sure(self) -> bool:
        return True

    @property
    def replicas(self) -> Sequence[NodeRecall]:
        return ()

    async def recall(self, question: Question) -> Answer:
        self.asked.append(question)
        if self.failures:
            raise self.failures.pop(0)
        hits = tuple(Hit(self.name.encode(), distance) for distance in self.distances)
        return Answer(hits, exact=True, partial=False, served_by=self.name)


class Map:
    """Agents `a...` are on the first shard, others on the second."""

    def __init__(self) -> None:
        self.first, self.second = Group("first", [0.1, 0.4]), Group("second", [0.2, 0.3])
        self.on_its_way: set[str] = set()
        self.looks = 0

    def group_of(self, owner: str) -> Group:
        return self.first if owner.startswith("a") else self.second

    def is_on_its_way(self, owner: str) -> bool:
        return owner in self.on_its_way

    def knows(self, token: str) -> bool:
        return bool(token)

    async def agents(self) -> Sequence[str]:
        return ["a1", "a2", "b1"]

    async def look_again(self) -> None:
        self.looks += 1


def lane(group: NodeGroup) -> Recall:
    assert isinstance(group, Group)
    return group


def question(scope: str = "all") -> EpisodicQuestion:
    return EpisodicQuestion(
        agent_id="a1",
        vector=b"",
        top_k=3,
        scope="own" if scope == "own" else "all" if scope == "all" else "others",
        filter=EpisodicFilter(),
        max_distance=None,
        exact=False,
        include_vectors=False,
        consistency="eventual",
    )


async def test_answers_of_all_shards_are_one_nearest_first() -> None:
    shards = Map()
    answer = await ShardedRecall(shards, lane).recall(question("others"))
    assert [hit.distance for hit in answer.hits] == [0.1, 0.2, 0.3]
    assert (answer.exact, answer.partial, answer.served_by) == (True, False, "first, second")
    asked = [
        q.among
        for g in (shards.first, shards.second)
        for q in g.asked
        if isinstance(q, EpisodicQuestion)
    ]
    assert asked == [("a2",), ("b1",)]


async def test_shard_that_is_away_makes_the_answer_partial_and_not_exact() -> None:
    shards = Map()
    shards.second.failures = [StorageUnavailable("away")]
    answer = await ShardedRecall(shards, lane).recall(question())
    assert [hit.distance for hit in answer.hits] == [0.1, 0.4]
    assert (answer.exact, answer.partial) == (False, True)


async def test_no_shard_answers() -> None:
    shards = Map()
    shards.first.failures = [StorageUnavailable("away")]
    shards.second.failures = [StorageUnavailable("away")]
    with pytest.raises(StorageUnavailable):
        await ShardedRecall(shards, lane).recall(question())


async def test_what_moves_is_asked_again_whole_until_it_has_arrived() -> None:
    shards = Map()
    shards.second.failures = [StorageMoving("moves"), StorageMoving("moves")]
    answer = await ShardedRecall(shards, lane).recall(question())
    assert (len(answer.hits), answer.partial, shards.looks) == (3, False, 2)


async def test_what_takes_long_to_arrive_is_left_out_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.read_path.sharded.MOVING_WAIT_S", 0.0)
    shards = Map()
    shards.second.failures = [StorageMoving("moves")] * 2
    answer = await ShardedRecall(shards, lane).recall(question())
    assert [hit.distance for hit in answer.hits] == [0.1, 0.4]
    assert (answer.exact, answer.partial) == (False, True)
    shards.first.failures = [StorageMoving("moves")]
    with pytest.raises(StorageMoving):
        await ShardedRecall(shards, lane).recall(question("own"))


async def test_only_the_master_is_asked_for_what_is_on_its_way() -> None:
    shards = Map()
    shards.on_its_way = {"a1"}
    await ShardedRecall(shards, lane).recall(question("own"))
    assert [q.consistency for q in shards.first.asked] == ["strong"]
