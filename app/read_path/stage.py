"""What a stage of the read path is: it answers questions, and so does the next one."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from app.errors import MemoryServiceError
from app.model import Answer, EpisodicQuestion, SemanticQuestion
from app.nodes.node import NodeStatus

Question = EpisodicQuestion | SemanticQuestion

SEMANTIC_PARTITION = ""
"""Stands for the swarm's concepts where an agent's name stands for its experiences."""


class Recall(Protocol):
    """Answers one question. Raises MemoryServiceError."""

    async def recall(self, question: Question) -> Answer:
        """The answer to this question."""
        ...


class RecallBatch(Protocol):
    """Answers many questions in one round trip."""

    async def recall_many(self, questions: Sequence[Question]) -> list[Answer | MemoryServiceError]:
        """An answer or an error for each question, in order. Raises when all of them failed."""
        ...


class NodeRecall(RecallBatch, Protocol):
    """One Redis node that answers questions."""

    @property
    def name(self) -> str:
        """What `served_by` calls it."""
        ...

    @property
    def status(self) -> NodeStatus:
        """How it was when it was last looked at."""
        ...

    @property
    def reads(self) -> set[asyncio.Timeout]:
        """Where to leave the limit of a call that need not wait for a node that hangs."""
        ...


class NodeGroup(Protocol):
    """The nodes that may be asked now: who is who can change from one question to the next."""

    @property
    def master(self) -> NodeRecall:
        """The node that takes writes."""
        ...

    @property
    def replicas(self) -> Sequence[NodeRecall]:
        """The nodes that follow it."""
        ...

    @property
    def has_lease(self) -> bool:
        """Whether no other node can have become the master unseen."""
        ...


def partition_of(question: Question) -> str | None:
    """Whose memory the question is about; None: that of many agents."""
    if isinstance(question, SemanticQuestion):
        return SEMANTIC_PARTITION
    return question.agent_id if question.scope == "own" else None


class MasterRecall:
    """Stands where the balancer would: the master is asked, whatever its state."""

    def __init__(self, group: NodeGroup) -> None:
        self._group = group

    async def recall_many(self, questions: Sequence[Question]) -> list[Answer | MemoryServiceError]:
        """The master's answers."""
        return await self._group.master.recall_many(questions)


class OneByOne:
    """Stands where the batcher would: each question is a round trip of its own."""

    def __init__(self, search: RecallBatch) -> None:
        self._search = search

    async def recall(self, question: Question) -> Answer:
        """The answer to this question."""
        (answer,) = await self._search.recall_many([question])
        if isinstance(answer, MemoryServiceError):
            raise answer
        return answer
