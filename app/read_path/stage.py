"""What a stage of the read path is: it answers questions, and so does the next one."""

from collections.abc import Sequence
from typing import Protocol

from app.errors import MemoryServiceError
from app.records import Answer, EpisodicQuestion, SemanticQuestion

Question = EpisodicQuestion | SemanticQuestion


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


class OneByOne:
    """The last stage when nothing is batched: each question is a round trip of its own."""

    def __init__(self, search: RecallBatch) -> None:
        self._search = search

    async def recall(self, question: Question) -> Answer:
        """The answer to this question."""
        (answer,) = await self._search.recall_many([question])
        if isinstance(answer, MemoryServiceError):
            raise answer
        return answer
