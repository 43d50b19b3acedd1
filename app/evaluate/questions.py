"""An agent's closed memories as questions: each asked as of its own moment, for its own reward."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from app.evaluate.scores import Neighbours
from app.memory.estimates.history import History
from app.memory.estimates.kernel import Kernel
from app.memory.estimates.magnitude import per_scale
from app.memory.estimates.matured import ANY_ACTION, matured
from app.memory.evidence import EvidenceSearch, Name
from app.memory.questions import shared_since
from app.model import EpisodicFilter, EpisodicQuestion, Metric, Scope, Tags, Trace
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

    `scope`: whose memories answer. `action` None: all of them. `product_id` and `regime` bound what
    answers as well; empty: any.
    `is_scaled`: rewards in units of each memory's scale. `metric` None: the cosine distance.
    """

    agent_id: str
    scope: Scope
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
    """What was known at a moment of an agent and of those whose memories answer, as columns (m,).
    A copy: agents keep storing.

    `agent`, `product` and `action` are codes. `asked`: the agent's rows that become questions, in
    order of time; no two of a product overlap. `eligible`: how many there were before the earliest
    were left out. `answering`: how many memories may answer.
    """

    names: list[Name]
    seq: Rows
    start: Floats
    end: Floats
    reward: Floats
    agent: Rows
    product: Rows
    action: Rows
    asked: Rows
    eligible: int
    answering: int


@dataclass(frozen=True, slots=True)
class Looked:
    """A memory to ask, the histories that it was read from, and what was requested."""

    memory: KnownMemory
    histories: Mapping[str, History]
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions that found enough neighbours, as rows of the memory (n,), and these neighbours."""

    rows: Rows
    neighbours: Neighbours


def memory_of(histories: Mapping[str, History], wanted: Wanted) -> KnownMemory:
    """Return what is known of these agents, and which of the asking one's memories are asked."""
    parts = _Parts(wanted)
    for agent_id, history in histories.items():
        parts.add(agent_id, history)
    own = histories[wanted.agent_id]
    period = EpisodicFilter(
        product_id=wanted.product_id,
        regime=wanted.regime,
        since=wanted.since,
        until=wanted.until,
    )
    action: object = ANY_ACTION if wanted.action is None else wanted.action
    chosen = matured(own, period, wanted.horizon, action, is_scaled=False, as_of=wanted.as_of)
    eligible = chosen.count_apart(wanted.as_of)
    asked = chosen.apart(max(0, eligible - MAX_QUESTIONS), eligible)
    return parts.memory(own.seq[asked], eligible)


class _Parts:
    """The columns of one agent after the other."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._names: list[Name] = []
        self._columns: list[tuple[Rows | Floats, ...]] = []
        self._codes: dict[str | None, int] = {}

    def add(self, agent_id: str, history: History) -> None:
        """Add what is known of an agent."""
        wanted, horizon = self._wanted, self._wanted.horizon
        everything = matured(
            history, EpisodicFilter(), horizon, ANY_ACTION, is_scaled=False, as_of=wanted.as_of
        )
        known = everything.known(wanted.as_of)
        outcomes = history.outcomes(horizon)
        reward = outcomes.reward[known]
        if wanted.is_scaled:
            reward = per_scale(reward, history.column("scale")[known])
        self._names += [(agent_id, history.id_of(row)) for row in known.tolist()]
        self._columns.append(
            (
                history.seq[known],
                history.column("start")[known],
                outcomes.end[known],
                reward,
                np.full(len(known), len(self._columns)),
                self._common(history, "product", known),
                self._common(history, "action", known),
            )
        )

    def memory(self, asked: Rows, eligible: int) -> KnownMemory:
        """Return all of it. `asked`: the numbers of the first agent's memories to ask."""
        seq, start, end, reward, agent, product, action = (
            np.concatenate(column) for column in zip(*self._columns, strict=True)
        )
        places = np.flatnonzero((agent == 0) & np.isin(seq, asked))
        is_answering = agent > 0 if self._wanted.scope == "others" else agent >= 0
        return KnownMemory(
            names=self._names,
            seq=seq,
            start=start,
            end=end,
            reward=reward,
            agent=agent,
            product=product,
            action=action,
            asked=places[np.argsort(start[places], kind="stable")],
            eligible=eligible,
            answering=int(is_answering.sum()),
        )

    def _common(self, history: History, column: str, rows: Rows) -> Rows:
        """Return codes that mean the same name in every agent's part."""
        own, places = np.unique(history.codes(column)[rows], return_inverse=True)
        names = [history.name(code) for code in own.tolist()]
        common = [self._codes.setdefault(name, len(self._codes)) for name in names]
        return np.array(common, np.int64)[places]


class NeighbourSearch:
    """Finds each question's neighbours once, with the search of an estimate."""

    def __init__(
        self, evidence: EvidenceSearch, reader: HistoryReader, *, shared_max_age_days: float
    ) -> None:
        self._evidence = evidence
        self._reader = reader
        self._shared_max_age_days = shared_max_age_days

    async def ask(self, looked: Looked, on_progress: Callable[[int, int], None]) -> Asked:
        """Return the neighbours that each question would have had at its own moment.

        `on_progress` gets the number of questions done and the total. Raise StorageError,
        Overloaded.
        """
        memory, wanted = looked.memory, looked.wanted
        rows_by_name = {name: row for row, name in enumerate(memory.names)}
        rows: list[int] = []
        found: list[tuple[list[int], list[float]]] = []
        for first in range(0, len(memory.asked), READ_AT_ONCE):
            part = memory.asked[first : first + READ_AT_ONCE].tolist()
            names = [(memory.names[row][1], memory.seq.item(row)) for row in part]
            vectors = await self._reader.vectors(wanted.agent_id, names)
            for row, vector in zip(part, vectors, strict=True):
                if vector is None:
                    continue
                began = perf_counter()
                answer = await self._neighbours(looked, row, vector, rows_by_name)
                if len(answer[0]) >= FEWEST_NEIGHBOURS:
                    rows.append(row)
                    found.append(answer)
                await rest(began, REST)
            on_progress(first + len(part), len(memory.asked))
        return Asked(np.array(rows, np.int64), _as_columns(found, wanted.top_k))

    async def _neighbours(
        self, looked: Looked, row: int, vector: bytes, rows_by_name: dict[Name, int]
    ) -> tuple[list[int], list[float]]:
        memory, wanted = looked.memory, looked.wanted
        moment = float(memory.start[row])
        question = EpisodicQuestion(
            agent_id=wanted.agent_id,
            vector=vector,
            top_k=wanted.top_k,
            scope=wanted.scope,
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
            shared_since=shared_since(wanted.scope, moment, self._shared_max_age_days),
            metric=wanted.metric,
            trace=Trace(),  # bypasses the cache, whose room others' questions need
        )
        evidence = await self._evidence.find(
            question,
            looked.histories,
            horizon=wanted.horizon,
            is_distinct=wanted.is_distinct,
            scale=None,
        )
        rows, distances = [], []
        for name, neighbour in zip(evidence.names, evidence.neighbours, strict=True):
            other = rows_by_name.get(name)
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
