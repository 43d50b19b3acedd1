"""How unusual a state is among the states that the memory has met.

Each of up to REFERENCES memories, drawn at random from those known as of the question's moment, is
compared with what a question at its own time would have seen. That takes one search per reference
and is cached, so a walk through years finds nearly all of it cached.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from app.memory.estimates.history import History
from app.memory.estimates.inquiry import Inquiry
from app.memory.estimates.matured import ANY_ACTION, Matured, matured
from app.memory.estimates.novelty import REFERENCES, p_value
from app.memory.estimates.past import PastRecalls
from app.memory.estimates.past_values import PastKey, PastValues
from app.model import Answer, EpisodicQuestion, Trace
from app.nodes.commands import slices

MAX_AGENTS = 8
"""Agents that references of a question across agents are drawn from."""

MAX_SEARCHES = 2048
"""Searches for the references of one question; with many agents, fewer references are drawn."""

FEWEST_REFERENCES = 16
LATEST_PART = 4
"""References come from the latest quarter of what was known. Earlier ones had fewer memories to be
near to, so that today's states would look too ordinary."""

FEWEST_TO_DRAW_FROM = REFERENCES // 2
"""Fewer would make the p-value coarse; more, in a small memory, reach back to when it was half as
large."""

AHEAD = 16
"""Memories whose outcomes become known next. A walk forward will draw from these, so what they saw
is looked up together with what is missing."""

Rows = NDArray[np.int64]
Distances = Sequence[float]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """References of one agent: `rows`, drawn from the `latest` ones that were known."""

    agent_id: str
    history: History
    rows: Rows
    latest: int


class Novelty:
    """`same_distance`: a memory no farther than that is the state itself."""

    def __init__(
        self,
        pasts: PastRecalls,
        distances: PastValues,
        *,
        same_distance: float,
    ) -> None:
        self._pasts = pasts
        self._distances = distances
        self._same_distance = same_distance
        self.unsettled = 0
        """How often references were looked up whose distances another answer may not get."""

    async def seen(self, asked: Inquiry) -> Distances:
        """Return the distances that a question's references saw, ascending: up to REFERENCES.

        Those that are not kept are looked up first. Raise StorageError.
        """
        key = _key(asked)
        parts = [await self._seen(key, asked, drawn) for drawn in _draw(asked)]
        seen = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0), *parts])
        found: list[float] = np.sort(seen[~np.isnan(seen)]).tolist()
        return found

    def of(self, seen: Distances, nearest: float | None) -> float:
        """Return the novelty, 0 to 1, of a state whose nearest memory is this far (None: no
        memory).

        `seen`: the references' distances, ascending. Without any: 0 if the state is a memory,
        else 1.
        """
        if nearest is None:
            return 1.0
        if not len(seen) and nearest <= self._same_distance:
            return 0.0
        return p_value(seen, nearest)

    async def _seen(self, key: PastKey, asked: Inquiry, drawn: _Drawn) -> NDArray[np.float64]:
        """Return the distances that one agent's references saw; NaN for one that saw nothing."""
        where = key, drawn.agent_id, drawn.history
        is_there, seen = self._distances.of(*where, drawn.rows)
        if not is_there.all():
            following = _drawn_next(asked, drawn)
            is_kept, _ = self._distances.of(*where, following)
            missing = [*drawn.rows[~is_there].tolist(), *following[~is_kept].tolist()]
            looked_up = await self._look(key, asked, drawn, missing)
            # Not read again: a change of the memory may have dropped meanwhile what is kept.
            here = [looked_up.get(row, np.nan) for row in drawn.rows[~is_there].tolist()]
            return np.concatenate([seen[:, 0], here])
        return seen[:, 0]

    async def _look(
        self,
        key: PastKey,
        asked: Inquiry,
        drawn: _Drawn,
        rows: Sequence[int],
    ) -> dict[int, float]:
        """Look up, keep and return the distances that these rows saw."""
        name, history, heard = drawn.agent_id, drawn.history, self._distances.heard
        found: dict[int, float] = {}
        is_lasting = True
        past = await self._pasts.of(asked.histories, asked.question.metric)
        for part in slices(rows, past.at_a_time):
            vectors = await past.states(name, part)
            there = [pair for pair in zip(part, vectors, strict=True) if pair[1] is not None]
            starts = history.column("start")
            questions = [
                replace(_past_question(asked, starts.item(row)), vector=vector or b"", top_k=2)
                for row, vector in there
            ]
            answers = await past.answers(map(past.recall, questions))
            for (row, _), answer in zip(there, answers, strict=True):
                own = name, history.seq.item(row)
                found[row] = min(_distances_but(answer, own), default=np.nan)
                is_lasting &= answer.is_lasting and self._distances.keep(
                    key, name, history, row, [found[row]], heard=heard
                )
        self.unsettled += not (is_lasting and len(found) == len(rows))
        return found


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


def _lot(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=8).digest()
