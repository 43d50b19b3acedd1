"""Sends a question to the shard that holds its memory, and one about many agents to all shards.

Each shard has its own batcher and balancer, so a slow one delays no other shard's questions.
Answers of several shards are merged in their sort order; if a shard does not answer, the merged
answer is marked partial and not exact.
"""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from app.errors import MemoryServiceError, Overloaded, StorageError
from app.model import Answer, EpisodicQuestion, Question, merged_places, order_of
from app.read_path.stage import SEMANTIC_PARTITION, NodeGroup, Recall, partition_of

QuestionT = TypeVar("QuestionT", bound=Question)


class ShardMap(Protocol):
    """Maps an owner (an agent's name, or SEMANTIC_PARTITION) to the nodes that hold its memory."""

    def group_of(self, owner: str) -> NodeGroup:
        """Return the nodes that hold the owner's memory. Raise StorageUnavailable if there are
        none."""
        ...

    def knows(self, token: str) -> bool:
        """Return whether a node of any shard has the history that this token belongs to."""
        ...


class AgentList(Protocol):
    """The agents of all shards."""

    async def all(self) -> Sequence[str]:
        """Return all agents that ever stored a memory. Raise StorageError."""
        ...


class ShardedRecall:
    """Asks the shards. `make_lane` creates the next stages for one of them."""

    def __init__(
        self, shards: ShardMap, agents: AgentList, make_lane: Callable[[NodeGroup], Recall]
    ) -> None:
        self._shards = shards
        self._agents = agents
        self._make_lane = make_lane
        self._lanes: dict[NodeGroup, Recall] = {}

    async def recall(self, question: Question) -> Answer:
        """Return the answer. Raise MemoryServiceError if no shard can answer any part of it."""
        owner = partition_of(question)
        if owner is not None:
            group = self._shards.group_of(owner)
            return await self._lane(group).recall(self._as_asked_of(group, question))
        if not isinstance(question, EpisodicQuestion):
            raise TypeError(f"a question about nobody: {question}")
        return await self._recall_many_agents(question)

    async def _recall_many_agents(self, question: EpisodicQuestion) -> Answer:
        everybody = await self._agents.all()
        wanted = [a for a in everybody if question.scope == "all" or a != question.agent_id]
        # The memories of an agent without a shard cannot be searched now.
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
        _raise_unless_partial(answers, failures)
        return merged(answers, question, is_whole=not failures)

    async def _ask_part(
        self, group: NodeGroup, question: EpisodicQuestion
    ) -> Answer | MemoryServiceError:
        try:
            return await self._lane(group).recall(self._as_asked_of(group, question))
        except MemoryServiceError as error:
            return error

    def _lane(self, group: NodeGroup) -> Recall:
        lane = self._lanes.get(group)
        if lane is None:
            lane = self._lanes[group] = self._make_lane(group)
        return lane

    def _as_asked_of(self, group: NodeGroup, question: QuestionT) -> QuestionT:
        """Return the question, with consistency `strong` if its token belongs to another shard's
        history.

        Such a token says nothing about this shard's replicas.
        """
        token = question.consistency
        if token in {"eventual", "strong"}:
            return question
        nodes = (group.master, *group.replicas)
        is_own = any(node.status.has_reached(token) is not None for node in nodes)
        if not is_own and self._shards.knows(token):
            return replace(question, consistency="strong")
        return question


def _raise_unless_partial(
    answers: Sequence[Answer], failures: Sequence[MemoryServiceError]
) -> None:
    """Raise the first failure, unless it is a temporarily unavailable shard beside other
    answers."""
    for error in failures:
        is_away = isinstance(error, StorageError | Overloaded) and error.retryable
        if not answers or not is_away:
            raise error


def merged(answers: Sequence[Answer], question: EpisodicQuestion, *, is_whole: bool) -> Answer:
    """Merge the shards' answers to this question in its sort order.

    `is_whole` says that every shard answered.
    """
    if len(answers) == 1 and is_whole:
        return answers[0]
    places = [answer.places for answer in answers if answer.places is not None]
    in_order = heapq.merge(*(answer.hits for answer in answers), key=order_of(question))
    return Answer(
        hits=tuple(hit for hit, _ in zip(in_order, range(question.top_k), strict=False)),
        exact=is_whole and all(answer.exact for answer in answers),
        partial=not is_whole or any(answer.partial for answer in answers),
        served_by=", ".join(sorted(answer.served_by for answer in answers)),
        may_lag=any(answer.may_lag for answer in answers),
        places=merged_places(places, question.top_k) if places else None,
        trace=next((answer.trace for answer in answers if answer.trace is not None), None),
    )
