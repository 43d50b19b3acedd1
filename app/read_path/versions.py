"""Which version of its memory an answer belongs to.

Every confirmed write moves its partition's version: at once in the process that wrote, and in
every other one when Redis pushes the change. Nothing that was asked before a write is handed to
anybody who asks after it.
"""

import itertools
import time

from app.read_path.stage import SEMANTIC_PARTITION, Question, partition_of

MAX_PARTITIONS = 100_000
"""Partitions whose version is kept one by one; beyond, all of them move together."""


class PartitionVersions:
    """Versions are numbers that only grow; a partition that never moved has the common floor."""

    def __init__(self) -> None:
        self._next = itertools.count(1)
        self._moves: dict[str, tuple[int, float]] = {}
        self._floor = (0, 0.0)
        self._any_agent = (0, 0.0)

    def invalidate(self, partition: str) -> None:
        """A partition was written to: an agent's name, or SEMANTIC_PARTITION."""
        move = (next(self._next), time.monotonic())
        if len(self._moves) >= MAX_PARTITIONS:
            self._moves.clear()
            self._floor = move
        self._moves[partition] = move
        if partition != SEMANTIC_PARTITION:
            self._any_agent = move

    def invalidate_all(self) -> None:
        """Nothing is known of what was written: every version moves."""
        self._moves.clear()
        self._floor = self._any_agent = (next(self._next), time.monotonic())

    def version(self, question: Question) -> int:
        """The version of the memory that the question is about."""
        return self._move(partition_of(question))[0]

    def version_of(self, agent_id: str | None) -> int:
        """The version of one agent's memory; None: of all agents'."""
        return self._move(agent_id)[0]

    def moved_at_s(self, question: Question) -> float:
        """When this version came to be, on the monotonic clock."""
        return self._move(partition_of(question))[1]

    def _move(self, partition: str | None) -> tuple[int, float]:
        if partition is None:
            return self._any_agent
        return self._moves.get(partition, self._floor)
