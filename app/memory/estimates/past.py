"""Answers what memories would have asked at their own time.

An estimate needs up to 600 such questions for each action and 128 for its novelty, and a walk
forward needs new ones at every step. A search of the index takes a round trip for each; here they
are compared with vectors that the process keeps. Where those are too many, the index is asked.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.memory.distances.kept_vectors import KeptStates, KeptVectors
from app.memory.estimates.history import History
from app.memory.estimates.selection import searchable
from app.model import (
    EVERY_EXPERIENCE,
    Answer,
    EpisodicFilter,
    EpisodicQuestion,
    Metric,
    Places,
    merged_places,
)
from app.read_path.resident import SERVED_BY
from app.read_path.stage import Recall
from app.storage.histories import HistoryReader
from app.vectors import to_array

MOST_NUMBERS = 2**22
"""Of all states that a question compares: half a millisecond. An index takes less for more."""

FARTHEST = 2.0
SameT = TypeVar("SameT")
Floats32 = NDArray[np.float32]
Rows = NDArray[np.int64]


class PastRecall(Protocol):
    """Answers the questions that memories would have asked, for the agents of one inquiry.

    `at_a_time`: how many to ask at once, so that other requests get their turn.
    """

    at_a_time: int

    async def states(self, agent_id: str, rows: Sequence[int]) -> list[bytes | None]:
        """Return the states (float32 bytes) of an agent's memories; None for a deleted one.

        Raise StorageError.
        """
        ...

    def recall(self, question: EpisodicQuestion) -> Coroutine[Any, Any, Answer]:
        """Return the places of the nearest memories. Raise StorageError, Overloaded."""
        ...

    async def answers(self, asking: Iterable[Coroutine[Any, Any, SameT]]) -> list[SameT]:
        """Return what each of these returns, in order: the fastest way to wait for recalls."""
        ...


class PastRecalls:
    """Chooses who answers: this process, or the index by `plain`."""

    def __init__(self, plain: Recall, reader: HistoryReader, vectors: KeptVectors) -> None:
        self._plain = plain
        self._reader = reader
        self._vectors = vectors

    async def sure(self, agent_id: str, own: History) -> KeptStates | None:
        """Return an agent's states if they tell the engine's order, but for equal distances.

        Raise StorageError.
        """
        if self._reader.stored_as.type != "float32" or not self._fits(own.count):
            return None
        return await self._vectors.of(agent_id, own)

    async def of(self, histories: Mapping[str, History], metric: Metric | None) -> PastRecall:
        """Return what answers about these agents' memories. Raise StorageError."""
        count = sum(history.count for history in histories.values())
        if metric is not None or not self._fits(count):
            return _AskedPast(self._plain, self._reader, histories)
        states = {name: await self._vectors.of(name, own) for name, own in histories.items()}
        return _KeptPast(histories, states)

    def _fits(self, count: int) -> bool:
        is_small = count * self._vectors.dimension <= MOST_NUMBERS
        return is_small and self._vectors.has_room(count)


class _AskedPast:
    def __init__(
        self, plain: Recall, reader: HistoryReader, histories: Mapping[str, History]
    ) -> None:
        self._plain = plain
        self._reader = reader
        self._histories = histories

    at_a_time = 16

    async def states(self, agent_id: str, rows: Sequence[int]) -> list[bytes | None]:
        return await self._reader.vectors(agent_id, self._histories[agent_id].names_of(rows))

    def recall(self, question: EpisodicQuestion) -> Coroutine[Any, Any, Answer]:
        return self._plain.recall(question)

    async def answers(self, asking: Iterable[Coroutine[Any, Any, SameT]]) -> list[SameT]:
        return await asyncio.gather(*asking)


class _KeptPast:
    at_a_time = 4

    def __init__(self, histories: Mapping[str, History], states: Mapping[str, KeptStates]) -> None:
        self._histories = histories
        self._states = states

    async def states(self, agent_id: str, rows: Sequence[int]) -> list[bytes | None]:
        await asyncio.sleep(0)  # others get their turn: nothing else here waits
        found = self._states[agent_id].states
        return [None if np.isnan(found[row, 0]) else found[row].tobytes() for row in rows]

    async def recall(self, question: EpisodicQuestion) -> Answer:
        parts = [
            part
            for name in question.agents_asked(list(self._histories))
            for part in self._of_agent(question, name)
        ]
        places = merged_places(parts, question.top_k)
        return Answer((), exact=True, partial=False, served_by=SERVED_BY, places=places)

    async def answers(self, asking: Iterable[Coroutine[Any, Any, SameT]]) -> list[SameT]:
        return [await one for one in asking]  # none of them waits for anything

    def _of_agent(self, question: EpisodicQuestion, name: str) -> list[Places]:
        """Return the nearest memories of one agent, for each of the question's regimes."""
        history, kept = self._histories[name], self._states[name]
        found = []
        for step, wanted in question.regime_steps():
            rows = compared(kept, history, wanted)
            if not len(rows):
                continue
            rows, distances = nearest(kept, rows, question)
            count, is_other = len(rows), step == "other" and question.regime_policy == "prefer"
            seqs: list[int] = history.seq[rows].tolist()
            found.append(Places([name], [0] * count, seqs, distances, [is_other] * count))
        return found


def compared(kept: KeptStates, history: History, wanted: EpisodicFilter) -> Rows:
    """Return the rows of the memories that a question with this filter compares."""
    count = len(kept.lengths)
    if wanted is EVERY_EXPERIENCE and not history.retirements(None):
        return np.arange(count)
    return searchable(history, wanted)[:count].nonzero()[0]


def nearest(kept: KeptStates, rows: Rows, question: EpisodicQuestion) -> tuple[Rows, list[float]]:
    """Return the `top_k` nearest of these rows, and their cosine distances."""
    asked, count = to_array(question.vector), question.top_k
    if 2 * count < len(rows):
        rows = _near(kept, rows, asked, count)
    rows, distances = _in_order(rows, _cosine_distances(kept, rows, asked), count)
    if question.max_distance is not None:
        distances = distances[: np.searchsorted(distances, question.max_distance, side="right")]
    return rows[: len(distances)], distances.tolist()


def roughly_nearest(
    kept: KeptStates, rows: Rows, vector: bytes, count: int
) -> tuple[list[int], list[float]]:
    """Return the `count` nearest of these rows, and their cosine distances.

    They are rounded in another way than elsewhere, which takes half as long.
    """
    distances = 1 - _likeness(kept, rows, to_array(vector))
    if count < len(rows):
        near = _up_to(np.partition(distances, count - 1)[count - 1], distances)
        rows, distances = rows[near], distances[near]
    rows, distances = _in_order(rows, distances, count)
    return rows.tolist(), distances.tolist()


def _in_order(rows: Rows, distances: Floats32, count: int) -> tuple[Rows, Floats32]:
    """Return the `count` nearest of these rows, without any that was deleted meanwhile."""
    is_missing = np.isnan(distances)
    if is_missing.any():
        rows, distances = rows[~is_missing], distances[~is_missing]
    at = distances.argsort(kind="stable")[:count]
    return rows[at], distances[at]


def _near(kept: KeptStates, rows: Rows, asked: Floats32, count: int) -> Rows:
    """Return these rows but for those that are certainly not among the `count` nearest.

    Neither the sum here nor the one that tells distances is wrong by more than n / 2^24 (Higham
    2002, 3.1), n the numbers of a state.
    """
    farness = -_likeness(kept, rows, asked)
    margin = 4 * (len(asked) + 8) / 2**24  # twice what both may be wrong by
    return rows[_up_to(np.partition(farness, count - 1)[count - 1] + margin, farness)]


def _up_to(limit: np.float32, values: Floats32) -> Rows:
    """Return the places of these values up to a limit, and of all NaN, which sort last."""
    return (~(values > limit)).nonzero()[0]


def _likeness(kept: KeptStates, rows: Rows, asked: Floats32) -> Floats32:
    """Return the cosine similarity of each of these rows, by BLAS's sum, which is the fastest."""
    last = int(rows[-1]) + 1 if len(rows) else 0
    if len(rows) == last:
        products, lengths = np.vecdot(kept.states[:last], asked), kept.lengths[:last]
    elif 2 * len(rows) > last:
        products, lengths = np.vecdot(kept.states[:last], asked)[rows], kept.lengths[rows]
    else:
        products, lengths = np.vecdot(kept.states[rows], asked), kept.lengths[rows]
    found: Floats32 = products / (lengths * np.sqrt(np.vecdot(asked, asked)))
    return found


def _cosine_distances(kept: KeptStates, rows: Rows, asked: Floats32) -> Floats32:
    # A product of matrices rounds a row by where it stands among the others; this sum does not. It
    # also starts no threads, which took twenty times as long on two busy cores.
    products = np.einsum("ij,j->i", kept.states[rows], asked)
    length = np.sqrt(np.einsum("i,i->", asked, asked))
    distances: Floats32 = 1 - products / (kept.lengths[rows] * length)
    np.maximum(distances, 0, out=distances)
    return np.minimum(distances, FARTHEST, out=distances)
