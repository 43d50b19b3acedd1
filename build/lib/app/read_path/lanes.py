"""Two ways to Redis: one for questions that any node may answer, one for all others.

A round trip is over when all of its questions are answered. One that only the master may answer
waits for as long as a master that hangs may take; what a replica answers does not wait with it.
"""

from collections.abc import Coroutine
from typing import Any

from app.read_path.stage import Question, Recall
from app.records import Answer


class LanesByConsistency:
    """Questions with consistency `eventual` take one lane, those that want more the other."""

    def __init__(self, eventual: Recall, others: Recall) -> None:
        self._eventual = eventual
        self._others = others

    def recall(self, question: Question) -> Coroutine[Any, Any, Answer]:
        """The lane's answer."""
        lane = self._eventual if question.consistency == "eventual" else self._others
        return lane.recall(question)
