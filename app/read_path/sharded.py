"""Sends a question to the shard that holds its memory, and one about many agents to all shards.

Each shard has its own batcher and balancer, so a slow one delays no other shard's questions.
Answers of several shards are merged in their sort order; if a shard does not answer, the merged
answer is marked partial and not exact, and names the shard.
"""

import asyncio
import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Protocol, TypeVar

from app.context import remaining_s
from app.errors import MemoryServiceError, StorageTimeout, StorageUnavailable
from app.model import Answer, EpisodicQuestion, Hit, Question, Trace, merged_places, order_of
from app.nodes.redis_errors import AgentMoving
from app.read_path.stage import NodeGroup, Recall, partition_of
from app.storage.agents import is_away

PART_OF_TIME = 0.8
"""How much of a request's time a shard may take, so that the others' answers are not lost."""

QuestionT = TypeVar("QuestionT", bound=Question)


class NamedGroup(NodeGroup, Protocol):
    """The nodes of one shard, and the shard's name."""

    @property
    def name(self) -> str:
        """Return the name."""
        ...

    @property
    def is_away(self) -> bool:
        """Return whether no node of it is known to answer."""
        ...


class ShardMap(Protocol):
    """Maps an owner (an agent's name, or SEMANTIC_PARTITION) to the nodes that hold its memory."""

    @property
    def allows_partial(self) -> bool:
        """Return whether the others answer while a shard is away."""
        ...

    def __iter__(self) -> Iterator[NamedGroup]:
        """Return all shards."""
        ...

    def group_of(self, owner: str) -> NamedGroup:
        """Return the same as `locate_group`, from what this process knows."""
        ...

    def known_group_of(self, owner: str) -> NamedGroup | None:
        """Return the same as `group_of`. None if that has to be asked for."""
        ...

    async def locate_group(self, owner: str) -> NamedGroup:
        """Return the nodes that hold the owner's memory. Raise StorageError."""
        ...

    async def locate_latest(self, owner: str) -> NamedGroup:
        """Return the same, and make sure that the agent has not moved on. Raise StorageError."""
        ...

    def knows(self, token: str) -> bool:
        """Return whether a node of any shard has the history that this token belongs to."""
        ...


class ShardedRecall:
    """Asks the shards. `make_lane` creates the next stages for one of them.

    Where the others may answer without it, one shard is waited for `part_timeout_s` at most, to
    which this process's own delay is added; one that is known to be away is not asked.
    """

    def __init__(
        self,
        shards: ShardMap,
        make_lane: Callable[[NodeGroup], Recall],
        *,
        part_timeout_s: float,
        own_delay_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._shards = shards
        self._make_lane = make_lane
        self._part_timeout_s = part_timeout_s
        self._own_delay_s = own_delay_s
        self._lanes: dict[NodeGroup, Recall] = {}

    async def recall(self, question: Question) -> Answer:
        """Return the answer. Raise MemoryServiceError if no shard can answer any part of it."""
        owner = partition_of(question)
        if owner is None:
            return await self._recall_many_agents(question)
        asked, shards = question, self._shards
        group = shards.known_group_of(owner) or await shards.locate_group(owner)
        if question.consistency != "eventual":
            asked = self._as_asked_of(group, question)
            if asked.consistency == "strong":
                group = await shards.locate_latest(owner)
        trace: Trace | None = question.trace
        if trace is not None:
            trace.group = group.name
        try:
            return await (self._lanes.get(group) or self._lane(group)).recall(asked)
        except AgentMoving:  # the former copy is being removed
            return await self._lane(await shards.locate_latest(owner)).recall(asked)

    async def _recall_many_agents(self, question: Question) -> Answer:
        """Ask every shard about its own agents."""
        if not isinstance(question, EpisodicQuestion):
            raise TypeError(f"a question about nobody: {question}")
        groups = list(self._shards)
        outcomes = await asyncio.gather(*(self._ask_part(group, question) for group in groups))
        answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
        failed = {
            group.name: outcome
            for group, outcome in zip(groups, outcomes, strict=True)
            if isinstance(outcome, MemoryServiceError)
        }
        for error in failed.values():
            if not (answers and self._shards.allows_partial and is_away(error)):
                raise error
        return merged(answers, question, silent=tuple(failed))

    async def _ask_part(
        self, group: NamedGroup, question: EpisodicQuestion
    ) -> Answer | MemoryServiceError:
        if self._shards.allows_partial and group.is_away:
            return StorageUnavailable(f"Group {group.name} is away for now.", retry_after_s=1)
        try:
            async with asyncio.timeout(self._most_s()):
                return await self._lane(group).recall(self._as_asked_of(group, question))
        except TimeoutError:
            return StorageTimeout(f"Group {group.name} did not answer in time.", retry_after_s=1)
        except MemoryServiceError as error:
            return error

    def _most_s(self) -> float | None:
        """Return how long to wait for one shard. None without a limit."""
        left_s = remaining_s()
        limits = [] if left_s is None else [PART_OF_TIME * left_s]
        if self._shards.allows_partial:
            limits.append(self._part_timeout_s + self._own_delay_s())
        return min(limits, default=None)

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


def _each_once(hits: Iterable[Hit]) -> Iterator[Hit]:
    """Yield each memory once: for a moment, as its agent moves, two groups hold the same."""
    distance, records = math.nan, set[bytes]()
    for hit in hits:
        if hit.distance != distance:
            distance, records = hit.distance, set()
        if hit.record not in records:
            records.add(hit.record)
            yield hit


def merged(
    answers: Sequence[Answer], question: EpisodicQuestion, *, silent: tuple[str, ...] = ()
) -> Answer:
    """Merge the shards' answers to this question in its sort order.

    `silent` are the names of those that did not answer.
    """
    if len(answers) == 1 and not silent:
        return answers[0]
    places = [answer.places for answer in answers if answer.places is not None]
    in_order = heapq.merge(*(answer.hits for answer in answers), key=order_of(question))
    return Answer(
        hits=tuple(islice(_each_once(in_order), question.top_k)),
        exact=not silent and all(answer.exact for answer in answers),
        partial=bool(silent) or any(answer.partial for answer in answers),
        served_by=", ".join(sorted(answer.served_by for answer in answers)),
        may_lag=any(answer.may_lag for answer in answers),
        whole_since=max(
            (a.whole_since for a in answers if a.whole_since is not None), default=None
        ),
        places=merged_places(places, question.top_k) if places else None,
        trace=next((answer.trace for answer in answers if answer.trace is not None), None),
        silent_groups=silent,
    )
