"""An agent's closed memories as questions: each asked as of its own moment, for its own reward."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from app.evaluate.scores import Neighbours
from app.memory.estimates.history import History
from app.memory.estimates.kernel import Kernel
from app.memory.estimates.matured import ANY_ACTION, matured
from app.memory.evidence import EvidenceSearch
from app.model import EpisodicFilter, EpisodicQuestion, Metric, Tags, Trace
from app.storage.histories import HistoryReader

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

MAX_QUESTIONS = 1000
FEWEST_NEIGHBOURS = 5
"""Neighbours with the question's own action. With fewer, an interval says nothing."""

READ_AT_ONCE = 32
"""Vectors read in one round trip."""

REST = 2.0
"""How long to pause after each piece of work, as a multiple of the time that it took, so that other
searches get most of the processor (docs/guide/evaluate.md)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which memories become questions. `as_of`, `since`, `until` are unix seconds; None means
    unbounded.

    `action` None: all of them. `product_id` and `regime` bound what answers as well; empty: any.
    `is_scaled`: rewards in units of each memory's scale. `metric` None: the cosine distance.
    """

    agent_id: str
    since: float | None
    until: float | None
    as_of: float | None
    action: str | None
    horizon: str | None
    top_k: int
    is_distinct: bool
    product_id: Tags
    regime: Tags
    is_scaled: bool
    kernel: Kernel
    metric: Metric | None


@dataclass(frozen=True, slots=True)
class KnownMemory:
    """What was known of an agent at a moment, as columns (m,). A copy: the agent keeps storing.

    `asked`: the rows that become questions, in order of time; no two of a product overlap.
    `eligible`: how many there were before the earliest were left out.
    """

    ids: list[str]
    seqs: list[int]
    start: Floats
    end: Floats
    reward: Floats
    product: Rows
    action: Rows
    asked: Rows
    eligible: int


@dataclass(frozen=True, slots=True)
class Looked:
    """A memory to ask, the history that it was read from, and what was requested."""

    memory: KnownMemory
    history: History
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions that found enough neighbours, as rows of the memory (n,), and these neighbours."""

    rows: Rows
    neighbours: Neighbours


def memory_of(history: History, wanted: Wanted) -> KnownMemory:
    """Return what is known of an agent, and which of its memories are asked."""
    action: object = ANY_ACTION if wanted.action is None else wanted.action
    as_of, horizon = wanted.as_of, wanted.horizon
    everything = matured(
        history, EpisodicFilter(), horizon, ANY_ACTION, is_scaled=False, as_of=as_of
    )
    known = everything.known(as_of)
    period = EpisodicFilter(
        product_id=wanted.product_id,
        regime=wanted.regime,
        since=wanted.since,
        until=wanted.until,
    )
    chosen = matured(history, period, horizon, action, is_scaled=False, as_of=as_of)
    eligible = chosen.count_apart(as_of)
    asked = chosen.apart(max(0, eligible - MAX_QUESTIONS), eligible)
    start = history.column("start")[known].copy()
    places = np.flatnonzero(np.isin(known, asked))
    outcomes = history.outcomes(horizon)
    reward = outcomes.reward[known]
    if wanted.is_scaled:
        scale = history.column("scale")[known]
        reward = reward / np.where(np.isnan(scale), 1.0, scale)
    return KnownMemory(
        ids=[history.id_of(row) for row in known.tolist()],
        seqs=history.seq[known].tolist(),
        start=start,
        end=outcomes.end[known].copy(),
        reward=reward.copy(),
        product=history.codes("product")[known].astype(np.int64),
        action=history.codes("action")[known].astype(np.int64),
        asked=places[np.argsort(start[places], kind="stable")],
        eligible=eligible,
    )


class NeighbourSearch:
    """Finds each question's neighbours once, with the search of an estimate."""

    def __init__(self, evidence: EvidenceSearch, reader: HistoryReader) -> None:
        self._evidence = evidence
        self._reader = reader

    async def ask(self, looked: Looked, on_progress: Callable[[int, int], None]) -> Asked:
        """Return the neighbours that each question would have had at its own moment.

        `on_progress` gets the number of questions done and the total. Raise StorageError,
        Overloaded.
        """
        memory, wanted = looked.memory, looked.wanted
        rows_by_id = {name: row for row, name in enumerate(memory.ids)}
        rows: list[int] = []
        found: list[tuple[list[int], list[float]]] = []
        for first in range(0, len(memory.asked), READ_AT_ONCE):
            part = memory.asked[first : first + READ_AT_ONCE].tolist()
            names = [(memory.ids[row], memory.seqs[row]) for row in part]
            vectors = await self._reader.vectors(wanted.agent_id, names)
            for row, vector in zip(part, vectors, strict=True):
                if vector is None:
                    continue
                began = perf_counter()
                answer = await self._neighbours(looked, row, vector, rows_by_id)
                if len(answer[0]) >= FEWEST_NEIGHBOURS:
                    rows.append(row)
                    found.append(answer)
                await rest(began, REST)
            on_progress(first + len(part), len(memory.asked))
        return Asked(np.array(rows, np.int64), _as_columns(found, wanted.top_k))

    async def _neighbours(
        self, looked: Looked, row: int, vector: bytes, rows_by_id: dict[str, int]
    ) -> tuple[list[int], list[float]]:
        memory, wanted = looked.memory, looked.wanted
        moment = float(memory.start[row])
        question = EpisodicQuestion(
            agent_id=wanted.agent_id,
            vector=vector,
            top_k=wanted.top_k,
            scope="own",
            filter=EpisodicFilter(
                product_id=wanted.product_id,
                regime=wanted.regime,
                as_of=moment,
                horizon=wanted.horizon,
            ),
            max_distance=None,
            exact=False,
            include_vectors=False,
            consistency="eventual",
            metric=wanted.metric,
            trace=Trace(),  # bypasses the cache, whose room others' questions need
        )
        evidence = await self._evidence.find(
            question,
            {wanted.agent_id: looked.history},
            horizon=wanted.horizon,
            is_distinct=wanted.is_distinct,
            scale=None,
        )
        rows, distances = [], []
        for name, neighbour in zip(evidence.ids, evidence.neighbours, strict=True):
            other = rows_by_id.get(name)
            # If its outcome was known at once, a question would find itself.
            if (
                other is not None
                and memory.start[other] < moment
                and memory.end[other] <= moment
                and memory.action[other] == memory.action[row]
            ):
                rows.append(other)
                distances.append(neighbour.distance)
        return rows, wanted.kernel.weights(distances)


def _as_columns(found: list[tuple[list[int], list[float]]], width: int) -> Neighbours:
    rows = np.zeros((len(found), width), np.int64)
    weights = np.zeros((len(found), width))
    for i, (own, weighed) in enumerate(found):
        rows[i, : len(own)] = own
        weights[i, : len(own)] = weighed
    return Neighbours(rows, weights)


async def rest(began: float, share: float) -> None:
    """Pause for this multiple of the time since `began` (perf_counter), for others to work."""
    await asyncio.sleep(share * (perf_counter() - began))
