"""An agent's closed memories in the order in which their outcomes were known."""

import itertools
import sys
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.memory.estimates.baseline import MaturedRewards
from app.memory.estimates.history import History, smallest
from app.memory.estimates.magnitude import per_scale
from app.memory.estimates.selection import matching
from app.model import EpisodicFilter

ANY_ACTION: Final = object()
UNLIMITED: Final = sys.maxsize

MAX_MEMOS = 256
"""Selections that are cached per history until it changes."""


@dataclass(frozen=True, slots=True)
class Matured:
    """`rows` of the history, and `ends` (unix seconds, ascending): when outcomes became known.

    `chain` are rows so that no two of a product overlap in time: each began when the outcome of the
    one before was known. Later memories change no part of it. `rewards` are in units of each
    memory's scale if that was requested. `is_told`: all have an outcome_at that was given.
    """

    version: int
    rows: NDArray[np.int64]
    ends: NDArray[np.float64]
    chain: "_Chain"
    rewards: MaturedRewards
    draws: "_Draws"
    is_told: bool

    def known(self, as_of: float | None) -> NDArray[np.int64]:
        """Return the rows that were known at a moment; None means now."""
        return self.rows[: self.rewards.known(as_of)]

    def known_next(self, as_of: float | None, count: int) -> NDArray[np.int64]:
        """Return the `count` rows that become known next after a moment."""
        last = self.rewards.known(as_of)
        return self.rows[last : last + count]

    def drawn(self, as_of: float | None, latest: int, count: int) -> NDArray[np.int64]:
        """Return those with the smallest tickets of the `latest` rows known at a moment."""
        last = self.rewards.known(as_of)
        return self.draws.of(max(0, last - latest), last, count)

    def count_apart(self, as_of: float | None) -> int:
        """Return how many of the chain were known at a moment; None means now."""
        return self.chain.count(self.rewards.known(as_of))

    def apart(self, first: int, last: int) -> NDArray[np.int64]:
        """Return these rows of the chain."""
        return self.rows[self.chain.places[first:last]]


def matured(
    history: History,
    timeless: EpisodicFilter,
    horizon: str | None,
    action: object,
    *,
    is_scaled: bool,
    as_of: float | None,
) -> Matured:
    """Return an action's memories that match, whenever they were known. Cached until one changes.

    `action`: its name, None for those without one, or ANY_ACTION. Those that had retired at the
    question's moment, `as_of` (None: now), are left out: up to the next retirement, the same ones.
    """
    retirements = history.retirements(as_of)
    key = timeless, horizon, action, is_scaled, retirements
    former = history.memo.get(key)
    if isinstance(former, Matured) and former.version == history.version:
        return former
    if len(history.memo) >= MAX_MEMOS:
        history.memo.clear()
    rows = matching(history, timeless, horizon)
    if retirements:
        rows &= history.column("retired") > history.last_retirement(retirements)
    found = _matured(history, rows, horizon, action, is_scaled)
    if isinstance(former, Matured):
        found.chain.begin_as(former)
    history.memo[key] = found
    return found


class _Draws:
    """Draws references; the last draw is kept, because questions about the present repeat it."""

    def __init__(self, history: History, rows: NDArray[np.int64]) -> None:
        self._history = history
        self._rows = rows
        self._tickets: NDArray[np.uint64] | None = None
        self._last: tuple[tuple[int, int, int], NDArray[np.int64]] | None = None

    def of(self, first: int, last: int, count: int) -> NDArray[np.int64]:
        """Return the rows with the smallest tickets of these, at most `count`."""
        asked = first, last, count
        if self._last is not None and self._last[0] == asked:
            return self._last[1]
        rows = self._rows[first:last]
        if len(rows) > count:
            if self._tickets is None:
                self._tickets = self._history.tickets()[self._rows]
            rows = smallest(rows, self._tickets[first:last], count)
        self._last = asked, rows
        return rows


_NUMBERS = itertools.count(1)


class _Chain:
    """Computed on first use, because a question may need no backcast.

    `number`: of two chains with the same one, the longer begins with the shorter.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        starts: NDArray[np.float64],
        ends: NDArray[np.float64],
        products: NDArray[np.int32],
    ) -> None:
        self._rows = rows
        self._starts = starts
        self._ends = ends
        self._products = products
        self._made = 0
        self.number = next(_NUMBERS)
        self.places: list[int] = []
        self._busy_until: dict[int, float] = {}

    def begin_as(self, former: Matured) -> None:
        """Take over what was computed for a prefix of these rows."""
        before = former.chain
        is_same = np.array_equal(self._rows[: before._made], before._rows[: before._made])
        if before._made and is_same:
            self.number = before.number
            self._made = before._made
            self.places = before.places
            self._busy_until = before._busy_until

    def count(self, known: int) -> int:
        """Return how many of the first `known` rows are in the chain: the first of `places`."""
        last = len(self._rows)
        if self._made < last:
            columns = zip(
                range(self._made, last),
                self._starts[self._made :].tolist(),
                self._ends[self._made :].tolist(),
                self._products[self._made :].tolist(),
                strict=True,
            )
            for place, start, end, product in columns:
                if start >= self._busy_until.get(product, -np.inf):
                    self.places.append(place)
                    self._busy_until[product] = end
            self._made = last
        return bisect_left(self.places, known)


def most_apart(
    pool: Iterable[History], timeless: EpisodicFilter, horizon: str | None, as_of: float | None
) -> int:
    """Return the largest number of memories in question that can be apart in time.

    For each product, choosing those that end first gives the largest number.
    """
    total = 0
    for history in pool:
        everything = matured(history, timeless, horizon, ANY_ACTION, is_scaled=False, as_of=as_of)
        if not everything.is_told:
            return UNLIMITED
        total += everything.count_apart(as_of)
    return total


def _matured(
    history: History,
    known: NDArray[np.bool_],
    horizon: str | None,
    action: object,
    is_scaled: bool,
) -> Matured:
    outcomes = history.outcomes(horizon)
    if action is not ANY_ACTION:
        assert action is None or isinstance(action, str)
        known &= history.codes("action") == history.code(action)
    rows = np.flatnonzero(known)
    rows = rows[np.lexsort((history.seq[rows], outcomes.end[rows]))]
    rewards = outcomes.reward[rows]
    if is_scaled:
        rewards = per_scale(rewards, history.column("scale")[rows])
    ends = outcomes.end[rows]
    starts, products = history.column("start")[rows], history.codes("product")[rows]
    return Matured(
        version=history.version,
        rows=rows,
        ends=ends,
        chain=_Chain(rows, starts, ends, products),
        rewards=MaturedRewards(ends, rewards),
        draws=_Draws(history, rows),
        is_told=not (ends == history.column("recorded")[rows]).any(),
    )
