"""How unusual a state is, among states that the memory met before it.

Each of up to REFERENCES memories, drawn by chance from those known as of the question's moment, is
compared with what a question at its own time would have seen. That is found by one search a
reference and kept, so that a walk forward through years finds nearly all of it there.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from app.memory.estimates.history import History
from app.memory.estimates.inquiry import Inquiry
from app.memory.estimates.matured import ANY_ACTION, matured
from app.memory.estimates.novelty import REFERENCES, p_value
from app.memory.estimates.past_values import PastKey, PastValues
from app.model import Answer, EpisodicQuestion, Trace
from app.read_path.stage import Recall
from app.storage.histories import HistoryReader

MAX_AGENTS = 8
"""Agents that references of a question across agents are drawn from."""

MAX_SEARCHES = 2048
"""Searches for the references of one question: of many agents, fewer references are drawn."""

FEWEST_REFERENCES = 16
LATEST_PART = 4
"""References come from the latest quarter of what was known: to those before, a smaller memory had
less to be near to, so that today's states would look too ordinary."""

FEWEST_TO_DRAW_FROM = 2 * REFERENCES
SETS_KEPT = 4096
"""Sets of references with what they saw, some 2 KB each."""

AT_A_TIME = 32
"""References that are searched for at once, so that others get their turn."""

Distance = float | None
_Drawn = tuple[str, History, NDArray[np.int64]]


class Novelty:
    """`same_distance`: a memory no farther than that is the state itself."""

    def __init__(
        self,
        recall: Recall,
        reader: HistoryReader,
        distances: PastValues[Distance],
        *,
        same_distance: float,
    ) -> None:
        self._recall = recall
        self._reader = reader
        self._distances = distances
        self._same_distance = same_distance
        self._seen_by: OrderedDict[tuple[object, ...], NDArray[np.float64]] = OrderedDict()

    async def of(self, asked: Inquiry, nearest: float | None) -> float:
        """Return 0 to 1 for a state whose nearest memory is this far (None: there is none).

        Without any reference 1, and 0 for a state that is a memory. Raise StorageError.
        """
        if nearest is None:
            return 1.0
        question = asked.question
        key = PastKey(question.agent_id, question.scope, (asked.past, question.exact))
        parts = [await self._seen(key, asked, drawn) for drawn in _draw(asked)]
        distances = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0), *parts])
        if not len(distances) and nearest <= self._same_distance:
            return 0.0
        return p_value(distances, nearest)

    async def _seen(self, key: PastKey, asked: Inquiry, drawn: _Drawn) -> NDArray[np.float64]:
        """Return the distances that one agent's references saw."""
        name, history, rows = drawn
        known = (key, name, rows.tobytes(), history.seq.item(-1), self._distances.epoch(key))
        found = self._seen_by.get(known)
        if found is None:
            kept = self._distances.of(key)
            seqs = history.seq[rows].tolist()
            missing = [
                row for row, seq in zip(rows.tolist(), seqs, strict=True) if (name, seq) not in kept
            ]
            for start in range(0, len(missing), AT_A_TIME):
                await self._look(key, asked, name, history, missing[start : start + AT_A_TIME])
            kept = self._distances.of(key)
            values = [kept.get((name, seq)) for seq in seqs]
            seen = [value[1] for value in values if value is not None and value[1] is not None]
            found = self._seen_by[known] = np.array(seen, np.float64)
            while len(self._seen_by) > SETS_KEPT:
                self._seen_by.popitem(last=False)
        return found

    async def _look(
        self,
        key: PastKey,
        asked: Inquiry,
        name: str,
        history: History,
        rows: Sequence[int],
    ) -> None:
        vectors = await self._reader.vectors([(name, history.id_of(row)) for row in rows])
        there = [pair for pair in zip(rows, vectors, strict=True) if pair[1] is not None]
        starts = history.column("start")
        past = [
            replace(_past_question(asked, starts.item(row)), vector=vector or b"", top_k=2)
            for row, vector in there
        ]
        answers = await asyncio.gather(*map(self._recall.recall, past))
        for (row, _), answer in zip(there, answers, strict=True):
            own = name, history.seq.item(row)
            others = _distances_but(answer, own)
            self._distances.keep(key, own, starts.item(row), min(others, default=None))


def _distances_but(answer: Answer, own: tuple[str, int]) -> list[float]:
    """Return the distances of those found, without that of the state itself."""
    places = answer.places
    assert places is not None
    columns = zip(places.which, places.seqs, places.distances, strict=True)
    return [distance for at, seq, distance in columns if (places.agents[at], seq) != own]


def _past_question(asked: Inquiry, moment: float) -> EpisodicQuestion:
    """Return the same question as of an earlier moment, without bounds on time and reward."""
    return replace(
        asked.question,
        filter=replace(asked.past, as_of=moment),
        max_distance=None,
        regime_policy="strict",
        include_vectors=False,
        places_only=True,
        consistency="eventual",
        shared_since=None,
        trace=Trace(),  # asked past the cache, which others' questions need
    )


def _draw(asked: Inquiry) -> list[_Drawn]:
    """Return the references: each agent's memories with the smallest tickets that were known.

    Agents that knew nothing then take no part, so those that begin later change no draw.
    """
    known: dict[str, tuple[History, NDArray[np.int64]]] = {}
    for name, history in asked.pool:
        everything = matured(history, asked.past, None, ANY_ACTION, is_scaled=False)
        rows = everything.known(asked.as_of)
        if len(rows):
            latest = max(FEWEST_TO_DRAW_FROM, len(rows) // LATEST_PART)
            known[name] = history, rows[-latest:]
    searches = 1 if asked.question.scope == "own" else len(known)
    wanted = min(REFERENCES, max(FEWEST_REFERENCES, MAX_SEARCHES // max(1, searches)))
    names = sorted(known, key=_lot) if len(known) > 1 else list(known)
    count = max(1, wanted // max(1, min(MAX_AGENTS, len(names))))
    return [
        (name, known[name][0], known[name][0].drawn(known[name][1], count))
        for name in names[:MAX_AGENTS]
    ]


def _lot(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=8).digest()
