"""Versions of a memory, which say whether an answer may still be used.

Every confirmed write gives its partition a new version: at once in the process that wrote, and in
every other process when Redis pushes the change. A result of a question asked before a write is
never given to a caller who asks after it.
"""

import itertools
import time

from app.model import Question
from app.read_path.stage import SEMANTIC_PARTITION, partition_of

MAX_PARTITIONS = 100_000
"""How many partitions have their own version; beyond that, all of them change together."""


class PartitionVersions:
    """Versions are numbers that only grow. An unchanged partition has the common minimum."""

    def __init__(self) -> None:
        self._next = itertools.count(1)
        self._moves: dict[str, tuple[int, float]] = {}
        self._floor = (0, 0.0)
        self._any_agent = (0, 0.0)

    def invalidate(self, partition: str) -> None:
        """Give a partition (an agent's name, or SEMANTIC_PARTITION) a new version."""
        move = (next(self._next), time.monotonic())
        if len(self._moves) >= MAX_PARTITIONS:
            self._moves.clear()
            self._floor = move
        self._moves[partition] = move
        if partition != SEMANTIC_PARTITION:
            self._any_agent = move

    def invalidate_all(self) -> None:
        """Give every partition a new version, because writes may have been missed."""
        self._moves.clear()
        self._floor = self._any_agent = (next(self._next), time.monotonic())

    def version(self, question: Question) -> int:
        """Return the version of the memory that the question is about."""
        return self._move(partition_of(question))[0]

    @property
    def epoch(self) -> int:
        """Return a number that grows when writes may have been missed or lost."""
        return self._floor[0]

    def version_of(self, agent_id: str | None) -> int:
        """Return the version of one agent's memory, or of all agents' for None."""
        return self._move(agent_id)[0]

    def moved_at_s(self, question: Question) -> float:
        """Return when this version began, on the monotonic clock."""
        return self._move(partition_of(question))[1]

    def _move(self, partition: str | None) -> tuple[int, float]:
        if partition is None:
            return self._any_agent
        return self._moves.get(partition, self._floor)
