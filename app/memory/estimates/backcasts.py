"""Backcasts: the estimates that an agent's memories would have got as questions at their own time.

A backcast is the estimate of the action that was taken, made from what was known at that time.
Together with the actual outcomes, backcasts show how far estimates can be trusted. They are made by
searches like the question's own, cached, and made a block at a time, because a walk forward keeps
needing new ones.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.memory.estimates.action_values import Neighbour, action_value
from app.memory.estimates.history import History
from app.memory.estimates.inquiry import Inquiry, Terms
from app.memory.estimates.kernel import Kernel
from app.memory.estimates.magnitude import per_scale
from app.memory.estimates.matured import Matured, matured
from app.memory.estimates.past import PastRecall, PastRecalls
from app.memory.estimates.past_values import PastKey, PastValues
from app.memory.evidence import EvidenceSearch
from app.model import Answer, Trace

MAX_BACKCASTS = 600
"""How many backcasts of an action count: the latest known ones."""

BLOCK = 8
"""How many outcomes must become known before the next backcasts are made."""

MAX_KEPT = 1024
"""Columns that are cached, at most about 40 KB each."""

AT_ONCE = 32

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


class Backcast(NamedTuple):
    """The estimate for one action at a memory's own time, in units of its scale."""

    low: float
    high: float
    value: float
    stdev: float
    loss_probability: float
    independent_n: float


NO_BACKCAST = (math.nan,) * len(Backcast._fields)
"""Of a memory at whose own time nothing was known of its action."""


@dataclass(slots=True)
class Backcasts:
    """Backcasts of one action as columns, in the order in which their outcomes were known.

    `start` and `end` are unix seconds; `reward`, like everything else, is in units of the scale.
    `record` caches what is derived from them.
    """

    start: Floats
    end: Floats
    reward: Floats
    low: Floats
    high: Floats
    value: Floats
    stdev: Floats
    loss_probability: Floats
    independent_n: Floats
    record: object = None

    def __len__(self) -> int:
        return len(self.start)


class _Made(NamedTuple):
    """Backcasts by row, and whether all that were to be made are kept."""

    found: dict[int, Sequence[float]]
    is_lasting: bool


class BackcastMaker:
    """Makes and keeps backcasts: a few within a question, many in the background."""

    def __init__(
        self,
        evidence: EvidenceSearch,
        pasts: PastRecalls,
        kept: PastValues,
    ) -> None:
        self._evidence = evidence
        self._pasts = pasts
        self._kept = kept
        self._columns: OrderedDict[tuple[object, ...], tuple[int, Backcasts]] = OrderedDict()
        self._under_way: dict[tuple[PastKey, str | None], asyncio.Task[_Made]] = {}
        self.deferred = 0
        """How often an answer did without backcasts, because they were being made, or with some
        that another answer may not get."""

    async def of(
        self, asked: Inquiry, action: str | None, *, count: int = MAX_BACKCASTS
    ) -> Backcasts | None:
        """Return the latest backcasts of an action that were known as of the question's moment.

        None if there are none, or while they are being made: up to AT_ONCE are made before this
        returns, more in the background. Raise StorageError.
        """
        history = asked.own
        if history is None:
            return None
        of_action = _matured(asked, history, action)
        last = _last_whole_block(of_action.count_apart(asked.as_of))
        if not last:
            return None
        name = asked.key, action, of_action.chain.number, last, count, asked.retirements
        kept = self._columns.get(name)
        if kept is not None and kept[0] == self._kept.epoch(asked.key):
            return kept[1]
        if (asked.key, action) in self._under_way:
            self.deferred += 1
            return None
        rows = _learned_before(asked, history, of_action.apart(max(0, last - count), last))
        missing = self._missing(asked, history, rows)
        if len(missing) > AT_ONCE:
            self.deferred += 1
            self._make_beside(asked, history, action, missing)
            return None
        found, is_lasting = await self._read(asked, history, rows)
        epoch = self._kept.epoch(asked.key)
        if not is_lasting:
            self.deferred += 1
        elif epoch is not None:
            self._columns[name] = epoch, found
            while len(self._columns) > MAX_KEPT:
                self._columns.popitem(last=False)
        return found

    def is_making(self, asked: Inquiry, action: str | None) -> bool:
        """Return whether backcasts of this action are being made in the background."""
        return (asked.key, action) in self._under_way

    async def all_of(self, asked: Inquiry, action: str | None, *, count: int) -> Backcasts | None:
        """Return the latest `count` backcasts of an action; make those that are missing.

        None if there are none. Raise StorageError.
        """
        history = asked.own
        if history is None:
            return None
        of_action = _matured(asked, history, action)
        last = of_action.count_apart(asked.as_of)
        rows = _learned_before(asked, history, of_action.apart(max(0, last - count), last))
        found, _ = await self._read(asked, history, rows)
        return found

    async def _read(self, asked: Inquiry, history: History, rows: Rows) -> tuple[Backcasts, bool]:
        """Return these memories' backcasts, and whether they are all until a memory changes.

        Those that are missing are made. What is kept is read before that, and not again: a change
        of the memory may drop it meanwhile.
        """
        heard = self._kept.heard
        is_there, kept = self._kept.of(asked.key, asked.question.agent_id, history, rows)
        values = np.full((len(rows), len(Backcast._fields)), np.nan)
        values[is_there] = kept
        todo = rows[~is_there].tolist()
        is_lasting = True
        if todo:
            made, is_lasting = await self._make(asked, history, todo)
            values[~is_there] = [made.get(row, NO_BACKCAST) for row in todo]
            newest = history.column("start")[rows].max().item()
            is_lasting &= self._kept.is_unchanged(asked.key, heard, newest)
        has_any = ~np.isnan(values[:, 0])
        found = _columns(history, asked.terms, rows[has_any], values[has_any])
        return found, is_lasting

    def _missing(self, asked: Inquiry, history: History, rows: Rows) -> list[int]:
        is_there, _ = self._kept.of(asked.key, asked.question.agent_id, history, rows)
        missing: list[int] = rows[~is_there].tolist()
        return missing

    async def aclose(self) -> None:
        """Cancel what is in progress."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _make_beside(
        self,
        asked: Inquiry,
        history: History,
        action: str | None,
        todo: Sequence[int],
    ) -> None:
        name = asked.key, action
        if name in self._under_way:
            return
        # An empty context, because the caller's deadline must not apply here.
        making = self._make(asked, history, todo)
        task = asyncio.create_task(making, context=Context())
        self._under_way[name] = task
        task.add_done_callback(lambda done: self._done(name, done))

    def _done(self, name: tuple[PastKey, str | None], task: "asyncio.Task[_Made]") -> None:
        del self._under_way[name]
        if not task.cancelled():
            task.exception()  # mark as retrieved: nobody waits, and the next question begins again

    async def _make(self, asked: Inquiry, history: History, todo: Sequence[int]) -> "_Made":
        agent_id, heard = asked.question.agent_id, self._kept.heard
        found: dict[int, Sequence[float]] = {}
        is_lasting = True
        past = await self._pasts.of(asked.histories, asked.question.metric)
        for start in range(0, len(todo), past.at_a_time):
            part = todo[start : start + past.at_a_time]
            vectors = await past.states(agent_id, part)
            there = [
                (row, vector)
                for row, vector in zip(part, vectors, strict=True)
                if vector is not None
            ]
            made = await past.answers(
                self._backcast(asked, past, history, row, vector) for row, vector in there
            )
            for (row, _), (backcast, answer) in zip(there, made, strict=True):
                found[row] = backcast
                is_lasting &= answer.is_lasting and self._kept.keep(
                    asked.key, agent_id, history, row, backcast, heard=heard
                )
        return _Made(found, is_lasting and len(found) == len(todo))

    async def _backcast(
        self, asked: Inquiry, past: PastRecall, history: History, row: int, vector: bytes
    ) -> tuple[Sequence[float], Answer]:
        """Return the estimate for the action that was taken, and the answer that it comes from."""
        terms = asked.terms
        moment = float(history.column("start")[row])
        found = await self._evidence.find(
            replace(
                asked.question,
                vector=vector,
                filter=replace(asked.question.filter, as_of=moment, closed=False),
                include_vectors=False,
                consistency="eventual",
                shared_since=None,
                trace=Trace(),
            ),
            asked.histories,
            horizon=terms.horizon,
            is_distinct=terms.is_distinct,
            scale=1.0 if terms.is_scaled else None,
            # An outcome at once is known at its own moment: a memory must not find itself.
            besides=(asked.question.agent_id, history.seq.item(row)),
            past=past,
        )
        action = history.name(int(history.codes("action")[row]))
        own = [n for n in found.neighbours if n.action == action]
        scale = history.column("scale").item(row) if terms.is_scaled else 1.0
        stop_loss = terms.stop_loss / (1.0 if math.isnan(scale) else scale)
        made = _summed_up(action, own, terms.kernel, stop_loss) if own else None
        return made or NO_BACKCAST, found.answer


def _matured(asked: Inquiry, history: History, action: str | None) -> Matured:
    terms = asked.terms
    return matured(
        history,
        asked.timeless,
        terms.horizon,
        action,
        is_scaled=terms.is_scaled,
        as_of=asked.as_of,
    )


def _learned_before(asked: Inquiry, history: History, rows: Rows) -> Rows:
    """Return the rows that began after the question's distance was learned.

    It was chosen to suit the outcomes before: backcasts of those would promise too much.
    """
    metric = asked.question.metric
    return rows if metric is None else rows[history.column("start")[rows] >= metric.known_at]


def _summed_up(
    action: str | None, own: Sequence[Neighbour], kernel: Kernel, stop_loss: float
) -> Backcast | None:
    made = action_value(action, own, kernel, stop_loss)
    if made.stdev is None:
        return None
    return Backcast(
        low=made.q05,
        high=made.q95,
        value=made.value,
        stdev=made.stdev,
        loss_probability=made.loss_probability,
        independent_n=made.independent_n,
    )


def _last_whole_block(known: int) -> int:
    """Return how many make whole blocks, which most questions find already made."""
    return known - known % BLOCK if known >= 4 * BLOCK else known


def _columns(history: History, terms: Terms, rows: Rows, made: Floats) -> Backcasts:
    outcomes = history.outcomes(terms.horizon)
    reward = outcomes.reward[rows]
    if terms.is_scaled:
        reward = per_scale(reward, history.column("scale")[rows])
    return Backcasts(history.column("start")[rows], outcomes.end[rows], reward, *made.T)
