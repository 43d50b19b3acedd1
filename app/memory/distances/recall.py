"""Nearest neighbours by a learned distance: every memory in question is compared.

distance = sum of w_i (q_i - x_i)^2. It is exact by a bound: the first pass, in float32, sums terms
that are not negative, so it is wrong by a known share at most (Higham 2002, section 3.1). All that
may be among the nearest by that share are compared again in float64.
"""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import HistoryTooLong
from app.memory.distances.kept_vectors import KeptVectors, States
from app.memory.estimates.history import History
from app.memory.estimates.kept_histories import KeptHistories
from app.memory.estimates.selection import searchable
from app.model import (
    Answer,
    EpisodicQuestion,
    Hit,
    Metric,
    Places,
    Question,
    RegimeStep,
    Trace,
    merged_places,
)
from app.read_path.resident import SERVED_BY
from app.read_path.stage import Recall
from app.storage.histories import HistoryReader
from app.vectors import to_array

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

ALGORITHM = "METRIC"
AT_ONCE = 1024
"""Rows whose differences fit a processor's cache."""

MANY = 8192
"""More are compared in a thread, so that other requests get their turn: some 3 ms."""

UNIT_ROUNDOFF = 2.0**-24


class RecallByMetric:
    """Passes a question on to what knows its distance."""

    def __init__(self, plain: Recall, weighted: "WeightedRecall") -> None:
        self._plain = plain
        self._weighted = weighted

    def recall(self, question: Question) -> Coroutine[Any, Any, Answer]:
        """Return the answer to this question."""
        if isinstance(question, EpisodicQuestion) and question.metric is not None:
            return self._weighted.recall_by(question, question.metric)
        return self._plain.recall(question)  # not awaited here: every search passes


class WeightedRecall:
    """Answers questions that name a learned distance."""

    def __init__(
        self, histories: KeptHistories, vectors: KeptVectors, reader: HistoryReader
    ) -> None:
        self._histories = histories
        self._vectors = vectors
        self._reader = reader

    async def recall_by(self, question: EpisodicQuestion, metric: Metric) -> Answer:
        """Return the nearest memories by this distance. Raise HistoryTooLong, InvalidInput,
        StorageError."""
        histories = await self._histories.in_question(question)
        if histories is None:
            raise HistoryTooLong(
                "metric: the agents in question hold more memories than "
                "MEMORY_ESTIMATE_HISTORY_MEMORIES: raise that setting.",
                field="metric",
            )
        asked = question.agents_asked(list(histories))
        count = sum(histories[name].count for name in asked)
        self._vectors.require_room(count)
        parts = [
            await self._places(question, metric, name, histories[name])
            for name in asked
            if histories[name].count
        ]
        places = merged_places([place for part in parts for place in part], question.top_k)
        as_of = question.filter.as_of
        moments = [await self._reader.whole_since(name, as_of) for name in asked]
        purged = [moment for moment in moments if moment is not None]
        hits: tuple[Hit, ...] = ()
        is_partial = bool(purged)
        began = time.perf_counter()
        if not question.places_only:
            found = await self._hits(question, places, histories)
            hits, is_partial = tuple(found), is_partial or len(found) < len(places)
        if question.trace is not None:
            question.trace.redis_ms = (time.perf_counter() - began) * 1000
            self._explain(question, question.trace)
        return Answer(
            hits,
            exact=not purged,
            partial=is_partial,
            whole_since=max(purged, default=None),
            served_by=SERVED_BY,
            trace=question.trace,
            places=places if question.places_only else None,
            metric=metric.id,
        )

    async def _places(
        self, question: EpisodicQuestion, metric: Metric, agent_id: str, history: History
    ) -> list[Places]:
        """Return the nearest memories of one agent, for each of the question's regimes."""
        states, _ = await self._vectors.of(agent_id, history)
        found = []
        for step, wanted in question.regime_steps():
            own = wanted if agent_id == question.agent_id else question.shared(wanted)
            mask = searchable(history, own)[: len(states)]
            rows = np.flatnonzero(mask)
            if len(rows) > MANY:
                rows, distances = await asyncio.to_thread(nearest, states, rows, question, metric)
            else:
                rows, distances = nearest(states, rows, question, metric)
            is_other = step == "other" and question.regime_policy == "prefer"
            found.append(_as_places(agent_id, history, rows, distances, is_other=is_other))
        return found

    def _explain(self, question: EpisodicQuestion, trace: Trace) -> None:
        """Say that no search went to Redis."""
        trace.algorithm, trace.batch_size = ALGORITHM, 0
        trace.vector_type = self._reader.stored_as.type
        if question.scope == "own":
            trace.group = self._reader.group_of(question.agent_id)

    async def _hits(
        self, question: EpisodicQuestion, places: Places, histories: Mapping[str, History]
    ) -> list[Hit]:
        names = ["record"]
        if question.include_vectors:
            names += ["state_vector", "next_state_vector"]
        rows: list[Sequence[bytes | None]] = [()] * len(places)
        steps: list[RegimeStep | None] = [None] * len(places)
        for number, agent_id in enumerate(places.agents):
            history = histories[agent_id]
            at = [i for i, which in enumerate(places.which) if which == number]
            own = history.places_of([places.seqs[i] for i in at])
            memories = [
                (history.id_of(row), places.seqs[i]) for i, row in zip(at, own, strict=True)
            ]
            told = await self._reader.fields(agent_id, memories, names)
            for i, row, fields in zip(at, own, told, strict=True):
                rows[i] = fields
                steps[i] = _step(question, history.name(int(history.codes("regime")[row])))
        found = []
        for (record, *raw), distance, step in zip(rows, places.distances, steps, strict=True):
            if record is None:  # it went meanwhile
                continue
            vectors = None
            if question.include_vectors:
                pairs = zip(names[1:], raw, strict=True)
                vectors = {n: self._reader.decoded(v) for n, v in pairs if v is not None}
            found.append(Hit(record, distance, vectors, None, step))
        return found


def _step(question: EpisodicQuestion, regime: str | None) -> RegimeStep | None:
    if question.regime_policy == "strict" or not question.filter.regime:
        return None
    return "asked" if regime in question.filter.regime else "other"


def nearest(
    states: States, rows: Rows, question: EpisodicQuestion, metric: Metric
) -> tuple[Rows, Floats]:
    """Return the `top_k` nearest of these rows of `states` (n, d), and their distances."""
    asked = to_array(question.vector)
    weights = metric.weights
    rough = _rough(states, rows, asked, weights.astype(np.float32))
    is_there = ~np.isnan(rough)
    rows, rough = rows[is_there], rough[is_there]
    count = min(question.top_k, len(rows))
    if not count:
        return rows, np.empty(0)
    wrong_by = 2.0 * (len(weights) + 8) * UNIT_ROUNDOFF
    limit = np.partition(rough, count - 1)[count - 1] * (1.0 + 2.0 * wrong_by)
    close = rows[rough <= limit]
    away = states[close].astype(np.float64) - asked
    # A product of matrices rounds a row by where it stands among the others; this sum does not.
    distances: Floats = (away * away * weights).sum(axis=1)
    order = np.lexsort((close, distances))[:count]
    if question.max_distance is not None:
        order = order[distances[order] <= question.max_distance]
    return close[order], distances[order]


def _rough(
    states: States, rows: Rows, asked: NDArray[np.float32], weights: NDArray[np.float32]
) -> Floats:
    found = np.empty(len(rows))
    is_whole = len(rows) == len(states)
    for first in range(0, len(rows), AT_ONCE):
        last = first + AT_ONCE
        away = (states[first:last] if is_whole else states[rows[first:last]]) - asked
        np.square(away, out=away)
        found[first:last] = np.einsum("ij,j->i", away, weights)  # starts no threads
    return found


def _as_places(
    agent_id: str,
    history: History,
    rows: Rows,
    distances: Floats,
    *,
    is_other: bool,
) -> Places:
    seqs: Sequence[int] = history.seq[rows].tolist()
    count = len(seqs)
    return Places(
        [agent_id] if count else [],
        [0] * count,
        list(seqs),
        distances.tolist(),
        [is_other] * count,
    )
