"""How unusual a state is among the states that the memory has met.

Each of up to REFERENCES memories, drawn at random from those known as of the question's moment, is
compared with what a question at its own time would have seen. That takes one search per reference
and is cached, so a walk through years finds nearly all of it cached.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from app.memory.estimates.history import History
from app.memory.estimates.inquiry import Inquiry
from app.memory.estimates.matured import ANY_ACTION, Matured, matured
from app.memory.estimates.novelty import REFERENCES, p_value
from app.memory.estimates.past_values import PastKey, PastValues
from app.model import Answer, EpisodicQuestion, Trace
from app.nodes.commands import slices
from app.read_path.stage import Recall
from app.storage.histories import HistoryReader

MAX_AGENTS = 8
"""Agents that references of a question across agents are drawn from."""

MAX_SEARCHES = 2048
"""Searches for the references of one question; with many agents, fewer references are drawn."""

FEWEST_REFERENCES = 16
LATEST_PART = 4
"""References come from the latest quarter of what was known. Earlier ones had fewer memories to be
near to, so that today's states would look too ordinary."""

FEWEST_TO_DRAW_FROM = 2 * REFERENCES
SETS_KEPT = 4096
"""Cached sets of references with what they saw, about 2 KB each."""

AHEAD = 16
"""Memories whose outcomes become known next. A walk forward will draw from these, so what they saw
is looked up together with what is missing."""

AT_A_TIME = 32
"""References that are searched for at once, so that others get their turn."""

Distance = float | None
Rows = NDArray[np.int64]
Distances = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """References of one agent: `rows`, drawn from the `latest` ones that were known."""

    agent_id: str
    history: History
    rows: Rows
    latest: int


_Name = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class References:
    """The references of a question, each part with the name under which its distances are kept."""

    asked: Inquiry
    key: PastKey
    parts: list[tuple[_Drawn, _Name]]


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
        self._seen_by: OrderedDict[_Name, Distances] = OrderedDict()

    def draw(self, asked: Inquiry) -> References:
        """Return the references of a question."""
        key = _key(asked)
        parts = [(drawn, self._name(key, drawn)) for drawn in _draw(asked)]
        return References(asked, key, parts)

    def known(self, references: References) -> Distances | None:
        """Return the distances that references saw. None if they are not cached."""
        parts = [self._seen_by.get(name) for _, name in references.parts]
        there = [part for part in parts if part is not None]
        return _joined(there) if len(there) == len(parts) else None

    async def seen(self, references: References) -> Distances:
        """Return the same, after looking up what is not cached. Raise StorageError."""
        return _joined([await self._seen(references, *part) for part in references.parts])

    def of(self, seen: Distances, nearest: float | None) -> float:
        """Return the novelty, 0 to 1, of a state whose nearest memory is this far (None: no
        memory).

        `seen`: the references' distances. Without any: 0 if the state is a memory, else 1.
        """
        if nearest is None:
            return 1.0
        if not len(seen) and nearest <= self._same_distance:
            return 0.0
        return p_value(seen, nearest)

    def _name(self, key: PastKey, drawn: _Drawn) -> _Name:
        newest, epoch = drawn.history.seq.item(-1), self._distances.epoch(key)
        return key, drawn.agent_id, drawn.rows.tobytes(), newest, epoch

    async def _seen(self, references: References, drawn: _Drawn, name: _Name) -> Distances:
        """Return the distances that one agent's references saw."""
        key, asked = references.key, references.asked
        found = self._seen_by.get(name)
        if found is None:
            agent_id, seqs = drawn.agent_id, drawn.history.seq
            missing = self._missing(key, drawn, drawn.rows)
            if missing:
                missing += self._missing(key, drawn, _drawn_next(asked, drawn))
            for part in slices(missing, AT_A_TIME):
                await self._look(key, asked, agent_id, drawn.history, part)
            kept = self._distances.of(key)
            values = [kept.get((agent_id, seq)) for seq in seqs[drawn.rows].tolist()]
            seen = [value[1] for value in values if value is not None and value[1] is not None]
            found = self._seen_by[name] = np.array(seen, np.float64)
            while len(self._seen_by) > SETS_KEPT:
                self._seen_by.popitem(last=False)
        return found

    def _missing(self, key: PastKey, drawn: _Drawn, rows: Rows) -> list[int]:
        kept = self._distances.of(key)
        pairs = zip(rows.tolist(), drawn.history.seq[rows].tolist(), strict=True)
        return [row for row, seq in pairs if (drawn.agent_id, seq) not in kept]

    async def _look(
        self,
        key: PastKey,
        asked: Inquiry,
        name: str,
        history: History,
        rows: Sequence[int],
    ) -> None:
        vectors = await self._reader.vectors(name, history.names_of(rows))
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
    """Return the distances of the hits, without that of the state itself."""
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
        trace=Trace(),  # bypasses the cache, whose room others' questions need
    )


def _draw(asked: Inquiry) -> list[_Drawn]:
    """Return the references: each agent's known memories with the smallest tickets.

    Agents that knew nothing then are left out, so agents that begin later change no draw.
    """
    known: dict[str, tuple[History, Matured, int]] = {}
    for name, history in asked.pool:
        everything = matured(
            history, asked.past, None, ANY_ACTION, is_scaled=False, as_of=asked.as_of
        )
        there = everything.rewards.known(asked.as_of)
        if there:
            latest = max(FEWEST_TO_DRAW_FROM, there // LATEST_PART)
            known[name] = history, everything, latest
    searches = 1 if asked.question.scope == "own" else len(known)
    wanted = min(REFERENCES, max(FEWEST_REFERENCES, MAX_SEARCHES // max(1, searches)))
    names = sorted(known, key=_lot) if len(known) > 1 else list(known)
    count = max(1, wanted // max(1, min(MAX_AGENTS, len(names))))
    return [
        _Drawn(name, history, everything.drawn(asked.as_of, latest, count), latest)
        for name, (history, everything, latest) in (
            (name, known[name]) for name in names[:MAX_AGENTS]
        )
    ]


def _drawn_next(asked: Inquiry, drawn: _Drawn) -> Rows:
    """Return which of the memories whose outcomes become known next will be drawn then."""
    everything = matured(
        drawn.history, asked.past, None, ANY_ACTION, is_scaled=False, as_of=asked.as_of
    )
    ahead = everything.known_next(asked.as_of, AHEAD)
    among = everything.known(asked.as_of)[-drawn.latest :]
    then = np.concatenate([among[len(ahead) :], ahead])
    later = drawn.history.drawn(then, len(drawn.rows))
    return later[np.isin(later, ahead)]


def _key(asked: Inquiry) -> PastKey:
    question = asked.question
    return PastKey(question.agent_id, question.scope, (asked.past, question.exact, question.metric))


def _joined(parts: Sequence[Distances]) -> Distances:
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0), *parts])


def _lot(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=8).digest()
