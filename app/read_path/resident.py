"""Answers questions about an agent's own memory from a copy in this process.

The copy answers only while it holds every write that was confirmed before the question
(app/feed/search.py), so it is what Redis would answer, without the way there. All other questions
pass.
"""

import asyncio
import time
from typing import Any, Protocol, TypeGuard

import numpy as np

from app.metrics import RESIDENT_ANSWERS
from app.model import EVERY_EXPERIENCE, Answer, EpisodicQuestion, Hit, Places, Question
from app.read_path.stage import Recall
from app.resident.table import SearchTable
from app.vectors import VectorFormat

SERVED_BY = "process"

SMALL = 500_000
"""A search of fewer numbers takes Redis less time than the rest of a request takes this process. So
if this is the only process, and has several questions at once, Redis helps: it searches on a
processor of its own. Of larger copies, or for several processes, it would be the slowest part."""

BUSY_S = 0.002
"""How long questions go to Redis after several came at once."""

AT_ONCE = 4_000_000
"""Numbers that are compared on the event loop: 0.2 ms. More are compared in a thread."""


class ResidentTables(Protocol):
    """The copies in this process."""

    def ready(self, agent_id: str) -> SearchTable | None:
        """Return an agent's copy, if it holds all that was confirmed."""
        ...


class ResidentRecall:
    """Answers what it can without Redis. `is_alone`: no other process asks the same Redis."""

    def __init__(
        self,
        following: Recall,
        tables: ResidentTables,
        stored_as: VectorFormat,
        *,
        is_alone: bool,
    ) -> None:
        self._following = following
        self._tables = tables
        self._stored_as = stored_as
        self._is_alone = is_alone
        self._asks_in_turn = 0
        self._asked_redis = 0
        self._busy_until_s = 0.0

    async def recall(self, question: Question) -> Answer:
        """Return the answer, from a copy if there is one that is current."""
        if _asks_own_memory(question):
            table = self._tables.ready(question.agent_id)
            if table is not None and self._is_faster(table):
                answer = await self._answer(question, table)
                if answer is not None:
                    RESIDENT_ANSWERS.inc()
                    return answer
        self._asked_redis += 1
        try:
            return await self._following.recall(question)
        finally:
            self._asked_redis -= 1

    def _is_faster(self, table: SearchTable) -> bool:
        """Return whether the copy answers sooner than Redis, which answers together with others."""
        if table.numbers > SMALL or not self._is_alone:
            return True
        if self._asks_in_turn == 0:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._asks_in_turn += 1
        now_s = time.monotonic()
        if self._asks_in_turn > 1 or self._asked_redis:
            self._busy_until_s = now_s + BUSY_S
        return now_s >= self._busy_until_s

    def _end_turn(self) -> None:
        self._asks_in_turn = 0

    async def _answer(self, question: EpisodicQuestion, table: SearchTable) -> Answer | None:
        """Return the answer. None if the table changed meanwhile."""
        vector = self._stored_as.decode(self._stored_as.encode(question.vector))
        asked = vector, question.top_k, question.only
        if table.numbers <= AT_ONCE:
            rows, distances = table.nearest(*asked)
        else:
            changes = table.changes
            rows, distances = await asyncio.to_thread(table.search, table.question(*asked))
            if table.changes != changes:
                return None
        if question.max_distance is not None:
            count = int(np.searchsorted(distances, question.max_distance, "right"))
            rows, distances = rows[:count], distances[:count]
        if question.places_only:
            count = len(rows)
            floats: Any = distances.data
            places = Places(
                [question.agent_id] if count else [],
                [0] * count,
                table.seqs(rows).data,
                floats,
                [False] * count,
            )
            return Answer((), exact=True, partial=False, served_by=SERVED_BY, places=places)
        hits = tuple(map(Hit, table.records(rows), distances.tolist()))
        return Answer(hits, exact=True, partial=False, served_by=SERVED_BY)


def _asks_own_memory(question: Question) -> TypeGuard[EpisodicQuestion]:
    """Return whether a question asks one agent's present memory, all of it, and no more."""
    return (
        isinstance(question, EpisodicQuestion)
        and question.scope == "own"
        and question.filter is EVERY_EXPERIENCE
        and question.consistency == "eventual"
        and question.trace is None
        and not question.include_vectors
        and question.metric is None
    )
