"""Daily prices turned into the moments an agent would remember, in a fixed order of time.

A moment is one product on one day, seen after that day's close. It consists of

* its state vector of 256 numbers (coinswarm_memory.market.features says what they are),
* its regime (coinswarm_memory.market) and the action a trend follower takes then (`demo.actions`),
* what came after: the price's return over the next `horizon_days` trading days, and the reward,
  which is the return of the action over that time: a buy earns it, a sell earns its opposite, a
  hold is out of the market and earns 0. Costs are left out.

Vector, regime and action of day t are made from prices up to and including day t and from nothing
later; only the return and the reward look ahead, which is why they carry `outcome_at`.
"""

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coinswarm_memory import InvalidBars
from coinswarm_memory.market import BarsWarning, StateEncoder, regimes
from demo.actions import trend_actions

DIMENSION: Final = 256
"""Numbers in a state vector."""

FIRST_DAY: Final = 504
"""Number of the first day (from 0) that is a moment: two trading years in, when the averages of a
year that name its regime have a year behind them."""

HORIZON_DAYS = 21
"""Trading days from a moment to its outcome: about a month."""

CLOSE_HOUR_UTC = 21
"""When a day's price is known: New York closes at 21:00 UTC in winter, at 20:00 in summer."""


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """Daily closing prices of some products, on days that all of them traded.

    products: m names. dates: (days,) datetime64[D], ascending. prices: (days, m) float64, in the
    product's currency, above 0, adjusted for splits and dividends.
    """

    products: tuple[str, ...]
    dates: NDArray[np.datetime64]
    prices: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.prices.shape != (len(self.dates), len(self.products)):
            raise ValueError(
                f"prices have the shape {self.prices.shape}, "
                f"not {(len(self.dates), len(self.products))} for these dates and products"
            )
        if not np.all(np.isfinite(self.prices) & (self.prices > 0)):
            raise ValueError("a price is missing, infinite or not above 0")
        if not np.all(np.diff(self.dates) > np.timedelta64(0, "D")):
            raise ValueError("the dates do not ascend")


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """n moments in the order of time, and of `products` within a day; every array has n rows.

    vectors: (n, 256) float32, standardised, finite, never all zero.
    product_index: (n,) int64 into `products`. dates: (n,) datetime64[D].
    timestamps, outcome_at: (n,) float64, unix seconds of the moment's close and of the close
    `horizon_days` trading days later. regimes: (n,) str. actions: (n,) str, buy, sell or hold.
    forward_returns: (n,) float64, the price's change from `timestamps` to `outcome_at` as a
    fraction (0.05 is five per cent up). rewards: (n,) float64, the action's return, same unit.
    """

    products: tuple[str, ...]
    horizon_days: int
    vectors: NDArray[np.float32]
    product_index: NDArray[np.int64]
    dates: NDArray[np.datetime64]
    timestamps: NDArray[np.float64]
    outcome_at: NDArray[np.float64]
    regimes: NDArray[np.str_]
    actions: NDArray[np.str_]
    forward_returns: NDArray[np.float64]
    rewards: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.vectors)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Windows":
        """Only these rows: a mask of n or row numbers, kept in the order given."""
        return Windows(
            products=self.products,
            horizon_days=self.horizon_days,
            vectors=self.vectors[rows],
            product_index=self.product_index[rows],
            dates=self.dates[rows],
            timestamps=self.timestamps[rows],
            outcome_at=self.outcome_at[rows],
            regimes=self.regimes[rows],
            actions=self.actions[rows],
            forward_returns=self.forward_returns[rows],
            rewards=self.rewards[rows],
        )


def market_windows(market: Market, *, horizon_days: int = HORIZON_DAYS) -> Windows:
    """Every moment of `market` with enough past for a vector and enough future for an outcome.

    That is each day from number FIRST_DAY on, up to `horizon_days` before the
    last; of d days and m products (d - FIRST_DAY - horizon_days) * m moments. A moment of a price
    that never moved before has no direction to compare, and is left out.
    """
    if horizon_days < 1:
        raise ValueError("horizon_days must be at least 1")
    days = np.arange(FIRST_DAY, len(market.dates) - horizon_days)
    if not len(days):
        needed = FIRST_DAY + horizon_days + 1
        raise ValueError(f"{len(market.dates)} days are too few: {needed} needed")
    columns = [_product_columns(market, product, days, horizon_days) for product in market.products]
    # (products, days, ...) becomes one row a moment: by day, then by product.
    vectors, labels, actions, forward, rewards = (
        np.stack(column, axis=1).reshape(-1, *column[0].shape[1:])
        for column in zip(*columns, strict=True)
    )
    closes = _close_times(market.dates)
    per_day = len(market.products)
    windows = Windows(
        products=market.products,
        horizon_days=horizon_days,
        vectors=vectors,
        product_index=np.tile(np.arange(per_day, dtype=np.int64), len(days)),
        dates=np.repeat(market.dates[days], per_day),
        timestamps=np.repeat(closes[days], per_day),
        outcome_at=np.repeat(closes[days + horizon_days], per_day),
        regimes=labels,
        actions=actions,
        forward_returns=forward,
        rewards=rewards,
    )
    moved = np.any(vectors != 0, axis=1)
    return windows if moved.all() else windows.select(moved)


def _product_columns(
    market: Market, product: str, days: NDArray[np.int64], horizon_days: int
) -> tuple[
    NDArray[np.float32],
    NDArray[np.str_],
    NDArray[np.str_],
    NDArray[np.float64],
    NDArray[np.float64],
]:
    """Vectors, regimes, actions, forward returns and rewards of one product on `days`."""
    prices = market.prices[:, market.products.index(product)]
    known = pd.DataFrame({"date": market.dates, "close": prices}).iloc[: days[-1] + 1]
    actions = trend_actions(prices[: days[-1] + 1])[days]
    forward = prices[days + horizon_days] / prices[days] - 1.0
    rewards = forward * _position(actions) + 0.0  # a hold earns 0, not -0
    return _vectors(known, days), regimes(known).values[days], actions, forward, rewards


def _vectors(known: pd.DataFrame, days: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return these days' states; zeros for a day without one. Holidays are no gaps."""
    encoder = StateEncoder(dimension=DIMENSION, max_gap_bars=float("inf"))
    vectors = np.zeros((len(known), DIMENSION), np.float32)
    with warnings.catch_warnings():
        # A price that stands still has no state, and is left out by the caller.
        warnings.simplefilter("ignore", BarsWarning)
        try:
            encoded = encoder.fit_transform(known)
        except InvalidBars:
            return vectors[days]
    at = np.isin(_seconds(known["date"].to_numpy()), encoded.timestamps)
    vectors[at] = encoded.states
    return vectors[days]


def _position(actions: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return what an action holds: 1 for buy, -1 for sell, 0 for hold."""
    return np.where(actions == "buy", 1.0, np.where(actions == "sell", -1.0, 0.0))


def _close_times(dates: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Unix seconds of each day's close."""
    return _seconds(dates) + CLOSE_HOUR_UTC * 3600.0


def _seconds(moments: NDArray[np.datetime64]) -> NDArray[np.float64]:
    return moments.astype("datetime64[s]").astype(np.float64)
