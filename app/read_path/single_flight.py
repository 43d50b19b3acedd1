"""Identical questions that are under way at the same time share one call.

The call is a task of its own and shielded: a caller that leaves cancels only itself. Its entry is
gone before its answer is handed out, so nobody joins a call that is over; an error reaches all who
joined and is kept for none. A question asked after a write never joins one asked before it (the
version is part of the key), and `strong` joins nothing.
"""

import asyncio

from app.errors import DeadlineExceeded
from app.metrics import DEDUPLICATED
from app.read_path.deadline import remaining_s
from app.read_path.stage import Question, Recall
from app.read_path.versions import PartitionVersions
from app.records import Answer


class SingleFlightRecall:
    """One call for each distinct question under way."""

    def __init__(self, following: Recall, versions: PartitionVersions) -> None:
        self._following = following
        self._versions = versions
        self._flights: dict[tuple[Question, int], asyncio.Task[Answer]] = {}

    async def recall(self, question: Question) -> Answer:
        """The answer of this question's flight, started or joined."""
        if question.consistency == "strong" or question.trace is not None:
            return await self._following.recall(question)
        key = (question, self._versions.version(question))
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._fly(key))
            self._flights[key] = flight
            # Read the error even if every caller has left.
            flight.add_done_callback(lambda done: done.cancelled() or done.exception())
            return await asyncio.shield(flight)
        DEDUPLICATED.inc()
        try:
            return await asyncio.shield(flight)
        except DeadlineExceeded:
            # Whoever started the call had less time than this caller.
            left_s = remaining_s()
            if left_s is None or left_s > 0:
                return await self._following.recall(question)
            raise

    async def aclose(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._flights.values(), return_exceptions=True)

    async def _fly(self, key: tuple[Question, int]) -> Answer:
        try:
            return await self._following.recall(key[0])
        finally:
            del self._flights[key]
