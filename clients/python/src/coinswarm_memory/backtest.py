"""Backtests that cannot look ahead: every question carries the bar's time as `as_of`.

    walk = Walk(memory, "agent_1", horizon=5)
    for bar in walk.over(close):                  # prices by time, such as a pandas Series
        known = bar.estimate(states.loc[bar.label])
        bar.open(states.loc[bar.label], action="buy")   # closed by itself, five bars later

Nothing but numpy is needed: a frame's own methods are used.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Protocol, Unpack

import numpy as np

from coinswarm_memory import Agent, Closed, Estimate, Memory, Recall
from coinswarm_memory.encode.experience import MoreExperience
from coinswarm_memory.encode.times import TimeLike, unix_seconds
from coinswarm_memory.encode.vectors import ArrayLike
from coinswarm_memory.errors import LookAhead
from coinswarm_memory.operations.filters import EstimateOptions, RecallOptions


class Prices(Protocol):
    """Prices by time, such as a pandas Series."""

    def items(self) -> Any:
        """Go through times and prices."""


@dataclass(frozen=True, slots=True)
class _Open:
    memory_id: str
    price: float
    due_at_bar: int


def relative_change(then: float, now: float) -> float:
    """Return what a buy earned: the price's change as a fraction of the earlier price."""
    return now / then - 1.0


class Bar:
    """One bar of a walk. Questions asked at it see only what was known at its time.

    `label` is the time as it was given, `time` the moment at which the bar was known, in unix
    seconds. Its methods take no times, because the bar's time applies.
    """

    def __init__(self, walk: "Walk", label: TimeLike, time: float, price: float | None) -> None:
        self.label = label
        self.time = time
        self.price = price
        self._walk = walk
        self._past = walk.memory.at(time).agent(walk.agent.id)

    def recall(self, state: ArrayLike, *, k: int = 10, **options: Unpack[RecallOptions]) -> Recall:
        """Return the most similar moments whose outcome was known. Raises LookAhead."""
        return self._past.recall(state, k=k, **options)

    def estimate(
        self, state: ArrayLike, *, k: int = 50, **options: Unpack[EstimateOptions]
    ) -> Estimate:
        """Return what came of each action, if it was known by then. Raises LookAhead."""
        return self._past.estimate(state, k=k, **options)

    def open(
        self,
        state: ArrayLike,
        *,
        action: str,
        product: str | None = None,
        regime: str | None = None,
        **more: Unpack[MoreExperience],
    ) -> str:
        """Store this moment without its outcome and return its id.

        A walk with a `horizon` closes it by itself. Raises LookAhead for an outcome.
        """
        if more.get("outcome_at") is not None or more.get("next_state") is not None:
            raise LookAhead("what follows a bar is not known at it: close the moment later")
        stored = self._walk.agent.remember(
            state, action=action, product=product, regime=regime, timestamp=self.time, **more
        )
        self._walk.opened(stored.id, self)
        return stored.id

    def close(self, id: str, *, reward: float, terminal: bool | None = None) -> Closed:
        """Record the outcome of an earlier moment, known at this bar. Raises OutcomeConflict."""
        return self._walk.agent.close(id, reward=reward, outcome_at=self.time, terminal=terminal)


class Walk:
    """Goes through time, bar by bar, with one agent's memory.

    `horizon`: after how many bars a moment is closed with `reward(price then, price now)`. With
    None the strategy closes it. `length`: of a bar, if labels are the beginnings of bars; a bar is
    known that much later. `zone`: the time zone of labels that have none.
    """

    def __init__(
        self,
        memory: Memory,
        agent_id: str,
        *,
        horizon: int | None = None,
        reward: Callable[[float, float], float] = relative_change,
        length: timedelta = timedelta(0),
        zone: tzinfo = UTC,
    ) -> None:
        if horizon is not None and horizon < 1:
            raise LookAhead(f"an outcome is known after at least one bar: horizon is {horizon}")
        self.memory = memory
        self.agent: Agent = memory.agent(agent_id)
        self._horizon = horizon
        self._reward = reward
        self._length_s = length.total_seconds()
        self._zone = zone
        self._count = 0
        self._latest: float | None = None
        self._open: deque[_Open] = deque()

    def over(self, prices: Prices) -> Iterator[Bar]:
        """Go through prices by time, oldest first. Raises LookAhead if time goes back."""
        for label, price in prices.items():
            yield self.at(label, float(price))

    def at(self, label: TimeLike, price: float | None = None) -> Bar:
        """Advance to the bar with this label, and close what is due at its price.

        Raises LookAhead for a bar that is not later than the one before, because what was learned
        since would be known at it. Raises ValueError if a walk with a horizon gets no price.
        """
        if self._horizon is not None and price is None:
            raise ValueError("a walk with a horizon needs each bar's price")
        time = self._moment(label)
        if self._latest is not None and time <= self._latest:
            raise LookAhead(f"bar {label} is not later than the one before it")
        self._latest = time
        self._count += 1
        bar = Bar(self, label, time, price)
        self._settle(bar)
        return bar

    def opened(self, memory_id: str, bar: Bar) -> None:
        """Record a moment that is to be closed after the horizon."""
        if self._horizon is not None and bar.price is not None:
            self._open.append(_Open(memory_id, bar.price, self._count + self._horizon))

    def _settle(self, bar: Bar) -> None:
        while self._open and self._open[0].due_at_bar <= self._count:
            due = self._open.popleft()
            assert bar.price is not None
            bar.close(due.memory_id, reward=self._reward(due.price, bar.price))

    def _moment(self, label: TimeLike) -> float:
        if isinstance(label, datetime) and label.tzinfo is None:
            label = label.replace(tzinfo=self._zone)
        return unix_seconds(label, "the bar's time") + self._length_s


def require_no_look_ahead(
    states: Callable[[Any], Any], bars: Any, *, checks: int = 20, tolerance: float = 1e-5
) -> None:
    """Check that no state depends on anything later than its bar.

    `states` turns bars, a frame or a series of n rows, into a table of n states, shape (n, d). It
    is called again on the first rows alone, with `checks` lengths in the later half, and the last
    state must be the same each time. Raises LookAhead naming the first bar that differs, for
    instance by a centred window, `shift(-1)`, or a mean of all rows.
    """
    whole = _table(states(bars))
    if len(whole) != len(bars):
        raise ValueError(f"{len(bars)} bars have {len(whole)} states: give each bar one")
    for end in np.unique(
        np.linspace(max(len(whole) // 2, 1), len(whole) - 1, checks).astype(int)
    ).tolist():
        alone = _table(states(bars.iloc[:end]))[-1]
        if not np.allclose(alone, whole[end - 1], rtol=tolerance, atol=tolerance, equal_nan=True):
            raise LookAhead(
                f"the state of bar {bars.index[end - 1]} changes when later bars are known"
            )


def _table(states: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(states, np.float64)
