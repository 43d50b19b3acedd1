"""Questions go to the shard that holds what they are about; those about many agents to all shards.

Each shard has a lane of its own, batcher and balancer, so that a slow one holds up nobody else's
questions. A question over several shards is answered out of all of them, nearest first; when one
does not answer, the others' answer is marked partial and not exact. A question that meets a part
of the memory on its way between shards is asked again until it has arrived, for a while; then that
part counts as away.
"""

import asyncio
import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Protocol, TypeVar

from app.errors import MemoryServiceError, Overloaded, StorageError, StorageMoving
from app.read_path.stage import SEMANTIC_PARTITION, NodeGroup, Question, Recall, partition_of
from app.records import Answer, EpisodicQuestion

QuestionT = TypeVar("QuestionT", bound=Question)

MOVING_WAIT_S = 2.0
"""As a write waits for the same (app/storage/shard.py)."""


class ShardMap(Protocol):
    """Which nodes hold whose memory: an agent's name, or SEMANTIC_PARTITION."""

    def group_of(self, owner: str) -> NodeGroup:
        """The nodes that hold it. Raises StorageUnavailable when there are none."""
        ...

    def is_on_its_way(self, owner: str) -> bool:
        """Whether it may be in two places, half in each."""
        ...

    def knows(self, token: str) -> bool:
        """Whether a node of any shard has the history that this token is of."""
        ...

    async def agents(self) -> Sequence[str]:
        """All agents that ever stored a memory."""
        ...

    async def look_again(self) -> None:
        """Have it found out who holds what, and wait for that."""
        ...


class ShardedRecall:
    """Asks the lanes of the shards. `make_lane` makes the next stages for one of them."""

    def __init__(self, shards: ShardMap, make_lane: Callable[[NodeGroup], Recall]) -> None:
        self._shards = shards
        self._make_lane = make_lane
        self._lanes: dict[NodeGroup, Recall] = {}

    async def recall(self, question: Question) -> Answer:
        """The answer. Raises StorageMoving when what it asks for takes long to arrive."""
        give_up_at = time.monotonic() + MOVING_WAIT_S
        while True:
            may_wait = time.monotonic() < give_up_at
            try:
                return await self._recall(question, may_wait=may_wait)
            except StorageMoving:
                if not may_wait:
                    raise
            await self._shards.look_again()

    async def _recall(self, question: Question, *, may_wait: bool) -> Answer:
        owner = partition_of(question)
        if owner is not None:
            group = self._shards.group_of(owner)
            return await self._lane(group).recall(self._as_asked_of(group, [owner], question))
        if not isinstance(question, EpisodicQuestion):
            raise TypeError(f"a question about nobody: {question}")
        return await self._recall_many_agents(question, may_wait=may_wait)

    async def _recall_many_agents(self, question: EpisodicQuestion, *, may_wait: bool) -> Answer:
        everybody = await self._shards.agents()
        wanted = [a for a in everybody if question.scope == "all" or a != question.agent_id]
        # An agent without a shard is one whose memories cannot be asked for now.
        by_group: dict[NodeGroup, list[str]] = {}
        failures: list[MemoryServiceError] = []
        for agent_id in wanted:
            try:
                by_group.setdefault(self._shards.group_of(agent_id), []).append(agent_id)
            except StorageError as error:
                failures.append(error)
        if not by_group and not failures:
            by_group[self._shards.group_of(SEMANTIC_PARTITION)] = []
        answers: list[Answer] = []
        parts = [
            self._ask_part(group, replace(question, among=tuple(agents)))
            for group, agents in by_group.items()
        ]
        for outcome in await asyncio.gather(*parts):
            if isinstance(outcome, Answer):
                answers.append(outcome)
            else:
                failures.append(outcome)
        _raise_if_not_partial(answers, failures, may_wait=may_wait)
        return _merged(answers, question.top_k, is_whole=not failures)

    async def _ask_part(
        self, group: NodeGroup, question: EpisodicQuestion
    ) -> Answer | MemoryServiceError:
        asked = self._as_asked_of(group, question.among or (), question)
        try:
            return await self._lane(group).recall(asked)
        except MemoryServiceError as error:
            return error

    def _lane(self, group: NodeGroup) -> Recall:
        lane = self._lanes.get(group)
        if lane is None:
            lane = self._lanes[group] = self._make_lane(group)
        return lane

    def _as_asked_of(
        self, group: NodeGroup, owners: Sequence[str], question: QuestionT
    ) -> QuestionT:
        """To the master alone, where a replica could not tell that it lacks something.

        Replicas do not hear that a part of the memory is leaving: only the master refuses it then.
        And a token of another shard's history says nothing about this one's replicas.
        """
        if any(self._shards.is_on_its_way(owner) for owner in owners):
            return replace(question, consistency="strong")
        token = question.consistency
        if token in {"eventual", "strong"}:
            return question
        nodes = (group.master, *group.replicas)
        is_own = any(node.status.has_reached(token) is not None for node in nodes)
        if not is_own and self._shards.knows(token):
            return replace(question, consistency="strong")
        return question


def _raise_if_not_partial(
    answers: Sequence[Answer], failures: Sequence[MemoryServiceError], *, may_wait: bool
) -> None:
    """A part that is on its way is waited for, one that is away is left out of the answer."""
    for error in failures:
        is_away = isinstance(error, StorageError | Overloaded) and error.retryable
        if not answers or not is_away or (may_wait and isinstance(error, StorageMoving)):
            raise error


def _merged(answers: Sequence[Answer], top_k: int, *, is_whole: bool) -> Answer:
    if len(answers) == 1 and is_whole:
        return answers[0]
    nearest = heapq.merge(*(answer.hits for answer in answers), key=attrgetter("distance"))
    return Answer(
        hits=tuple(hit for hit, _ in zip(nearest, range(top_k), strict=False)),
        exact=is_whole and all(answer.exact for answer in answers),
        partial=not is_whole or any(answer.partial for answer in answers),
        served_by=", ".join(sorted(answer.served_by for answer in answers)),
        trace=next((answer.trace for answer in answers if answer.trace is not None), None),
    )
