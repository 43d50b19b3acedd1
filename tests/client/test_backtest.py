"""A backtest by the client's helper sees nothing that was not known, and says where one would."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from coinswarm_memory import LookAhead, Memory
from coinswarm_memory.backtest import Walk, require_no_look_ahead
from tests.client.conftest import states
from tests.conftest import DIMENSION

DAY = 86_400.0


def closes(count: int = 60, seed: int = 0) -> "pd.Series[float]":
    steps = np.random.default_rng(seed).normal(0, 0.02, count)
    days = pd.date_range("2020-01-01", periods=count, tz="UTC")
    return pd.Series(100 * np.exp(np.cumsum(steps)), index=days)


def windows(close: "pd.Series[float]") -> NDArray[np.float64]:
    """The last returns of each bar; zeros before the first."""
    returns = np.log(close).diff().fillna(0.0).to_numpy()
    padded = np.concatenate([np.zeros(DIMENSION - 1), returns])
    return sliding_window_view(padded, DIMENSION)


def test_each_bar_knows_the_outcomes_until_it(memory: Memory) -> None:
    close, table = closes(), states(60)
    walk = Walk(memory, "walker", horizon=3)
    seen: list[int] = []
    for number, bar in enumerate(walk.over(close)):
        known = bar.recall(table[number], k=100)
        seen.append(len(known))
        assert all((hit.outcome_at or 0) <= bar.time for hit in known)
        bar.open(table[number], action="buy", product="SPY")
    assert seen == [max(0, number - 2) for number in range(60)], "each is known after three bars"
    stored = list(memory.agent("walker").query(order="asc", terminal=False))
    prices = close.to_numpy()
    earned = [one.reward for one in stored if one.reward is not None]
    assert earned == pytest.approx(prices[3:] / prices[:-3] - 1)
    assert [one.outcome_at for one in stored[:2]] == [
        close.index[3].timestamp(),
        close.index[4].timestamp(),
    ]


def test_a_look_ahead_by_one_bar_is_caught(memory: Memory) -> None:
    close, table = closes(), states(60)
    walk = Walk(memory, "cheat")
    bars = walk.over(close)
    first, second = next(bars), next(bars)
    earlier = first.open(table[0], action="buy")
    with pytest.raises(LookAhead):
        second.estimate(table[1], as_of=second.time + 1e-3)
    with pytest.raises(LookAhead):
        second.recall(table[1], as_of=close.index[2])
    with pytest.raises(LookAhead):
        second.open(table[1], action="buy", outcome_at=close.index[2])
    with pytest.raises(LookAhead):
        second.open(table[1], action="buy", next_state=table[2])
    with pytest.raises(LookAhead):
        walk.at(close.index[1])
    third = next(bars)
    third.close(earlier, reward=0.5)
    assert len(third.recall(table[0])) == 1
    # A bar that was kept knows no more than it did.
    assert len(second.recall(table[0])) == 0


@pytest.mark.parametrize(
    "leaking",
    [
        lambda some: windows(some.shift(-1).ffill()),
        lambda some: windows(some.rolling(3, center=True, min_periods=1).mean()),
        lambda some: windows(some) - windows(some).mean(),
    ],
    ids=["the next bar", "a centred window", "a mean of all"],
)
def test_a_state_made_of_a_later_bar_is_caught(leaking: Callable[[object], object]) -> None:
    close = closes(200)
    require_no_look_ahead(windows, close)
    with pytest.raises(LookAhead, match="changes when later bars are known"):
        require_no_look_ahead(leaking, close)
    with pytest.raises(ValueError, match="200 bars have 199 states"):
        require_no_look_ahead(lambda some: windows(some)[1:], close)


def test_bars_that_are_labelled_by_their_beginning(memory: Memory) -> None:
    naive = pd.Timestamp("2020-01-01 09:30")
    walk = Walk(memory, "intraday", horizon=1, length=timedelta(minutes=30))
    bar = walk.at(naive, 100.0)
    assert bar.time == pd.Timestamp("2020-01-01 10:00", tz="UTC").timestamp()
    stored = bar.open(states(1)[0], action="buy")
    walk.at(naive + timedelta(minutes=30), 110.0)
    closed = memory.agent("intraday").get(stored)
    assert closed.reward == pytest.approx(0.1)
    assert closed.outcome_at == bar.time + 1800
    with pytest.raises(ValueError, match="price"):
        walk.at(naive + timedelta(hours=1))
    with pytest.raises(LookAhead):
        Walk(memory, "intraday", horizon=0)
