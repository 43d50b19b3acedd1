"""The interface of a stage of the read path: it answers questions, as the next stage does."""

from collections.abc import Sequence
from typing import Protocol

from app.errors import MemoryServiceError
from app.model import Answer, Question, SemanticQuestion
from app.nodes.node import RedisNode

SEMANTIC_PARTITION = ""
"""Takes an agent's place for questions about the swarm's concepts."""


class Recall(Protocol):
    """Answers one question. Raises MemoryServiceError."""

    async def recall(self, question: Question) -> Answer:
        """Return the answer to this question."""
        ...


class RecallBatch(Protocol):
    """Answers many questions in one round trip."""

    async def recall_many(self, questions: Sequence[Question]) -> list[Answer | MemoryServiceError]:
        """Return an answer or an error for each question, in order. Raise if all of them failed."""
        ...


class NodeSearch(Protocol):
    """Answers questions from a given node."""

    async def recall_many(
        self, node: RedisNode, questions: Sequence[Question]
    ) -> list[Answer | MemoryServiceError]:
        """Return as RecallBatch.recall_many does, from this node."""
        ...


class NodeGroup(Protocol):
    """The nodes that may be asked now. Their roles can change between two questions."""

    @property
    def master(self) -> RedisNode:
        """Return the node that takes writes."""
        ...

    @property
    def replicas(self) -> Sequence[RedisNode]:
        """Return the nodes that follow the master."""
        ...

    @property
    def has_lease(self) -> bool:
        """Return whether no other node can have become the master unnoticed."""
        ...


def partition_of(question: Question) -> str | None:
    """Return whose memory the question is about. None if it is about many agents."""
    if isinstance(question, SemanticQuestion):
        return SEMANTIC_PARTITION
    return question.agent_id if question.scope == "own" else None


class MasterRecall:
    """Replaces the balancer: asks the master, whatever its state."""

    def __init__(self, group: NodeGroup, search: NodeSearch) -> None:
        self._group = group
        self._search = search

    async def recall_many(self, questions: Sequence[Question]) -> list[Answer | MemoryServiceError]:
        """Return the master's answers."""
        return await self._search.recall_many(self._group.master, questions)


class OneByOne:
    """Replaces the batcher: each question is a round trip of its own."""

    def __init__(self, search: RecallBatch) -> None:
        self._search = search

    async def recall(self, question: Question) -> Answer:
        """Return the answer to this question."""
        (answer,) = await self._search.recall_many([question])
        if isinstance(answer, MemoryServiceError):
            raise answer
        return answer
