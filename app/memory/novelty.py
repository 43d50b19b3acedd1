"""Is a state unlike all that is known? Compared with how far known states are from each other.

For each partition some of its memories are drawn and their distances to their nearest neighbours
kept; a question's novelty is the share of them that is smaller than its own. The first question
waits for that; when the memory has changed, it is drawn again beside the requests, every
REFRESH_S at the most. What is known as of a moment is taken as of the day (UTC) in which it lies.
"""

import asyncio
import math
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.model import EpisodicQuestion
from app.storage.samples import NeighbourDistances

SAMPLE = 64
MAX_AGENTS = 8
"""Agents of which a question across agents compares the memories: SAMPLE memories in all."""

REFRESH_S = 10.0
MAX_KEPT = 4096
"""Partitions and days that are kept: some 2.5 MB."""

DAY_S = 86_400.0

_Key = tuple[str, str, float | None]


@dataclass(frozen=True, slots=True)
class _Reference:
    distances: Sequence[float]
    version: int
    drawn_at_s: float


class Novelty:
    """`version` tells which version of the memory a question is about.

    A memory no farther than `same_distance` is the state itself.
    """

    def __init__(
        self,
        distances: NeighbourDistances,
        version: Callable[[EpisodicQuestion], int],
        *,
        same_distance: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._distances = distances
        self._version = version
        self._same_distance = same_distance
        self._clock = clock
        self._known: OrderedDict[_Key, _Reference] = OrderedDict()
        self._drawing: dict[_Key, asyncio.Task[_Reference]] = {}

    async def of(self, question: EpisodicQuestion, nearest: float | None) -> float:
        """0 to 1 for a state whose nearest memory is this far (None: there is none).

        0 for a state that is a memory. Else 1 where fewer than two memories are known: there is no
        distance to compare with, so nothing is like anything yet. Raises StorageError.
        """
        if nearest is None:
            return 1.0
        if nearest <= self._same_distance:
            return 0.0
        key = _key_of(question)
        reference = self._known.get(key)
        if reference is None:
            reference = await asyncio.shield(self._draw(key, question))
        elif self._is_old(reference, question):
            self._draw(key, question)
        distances = reference.distances
        return bisect_left(distances, nearest) / len(distances) if distances else 1.0

    async def aclose(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._drawing.values(), return_exceptions=True)

    def _is_old(self, reference: _Reference, question: EpisodicQuestion) -> bool:
        changed = reference.version != self._version(question)
        return changed and self._clock() - reference.drawn_at_s >= REFRESH_S

    def _draw(self, key: _Key, question: EpisodicQuestion) -> asyncio.Task[_Reference]:
        drawing = self._drawing.get(key)
        if drawing is None:
            drawing = asyncio.create_task(self._reference(key, question))
            self._drawing[key] = drawing
            # Read the error even if nobody waits for it: the next question draws again.
            drawing.add_done_callback(lambda done: done.cancelled() or done.exception())
        return drawing

    async def _reference(self, key: _Key, question: EpisodicQuestion) -> _Reference:
        version = self._version(question)
        try:
            found = await self._distances.draw(
                agent_id=question.agent_id,
                scope=question.scope,
                as_of=key[2],
                count=SAMPLE,
                max_agents=MAX_AGENTS,
            )
            reference = _Reference(sorted(found), version, self._clock())
            self._known[key] = reference
            self._known.move_to_end(key)
            while len(self._known) > MAX_KEPT:
                self._known.popitem(last=False)
            return reference
        finally:
            del self._drawing[key]


def _key_of(question: EpisodicQuestion) -> _Key:
    as_of = question.filter.as_of
    day = None if as_of is None else math.floor(as_of / DAY_S) * DAY_S
    return question.agent_id, question.scope, day
