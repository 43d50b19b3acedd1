"""Market regimes from trend and volatility, and the action that a plain trend follower takes.

Both use closing prices up to and including the day they speak of, and nothing later.
"""

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

_FAST: Final = 50
_SLOW: Final = 200
_MONTH: Final = 21
_YEAR: Final = 252
_BAND: Final = 0.03
_UNKNOWN: Final = "unknown"


def label_regimes(prices: NDArray[np.float64]) -> NDArray[np.str_]:
    """The regime of each day: trend, then volatility, such as `bull_low_vol`.

    Trend: `bull` more than 3 % above the mean of the last 200 closes, `bear` more than 3 % below
    it, `sideways` between. Volatility: `high_vol` when the last 21 daily log returns deviate more
    than the last 252 do, else `low_vol`. prices: (days,) above 0. Answers (days,) str; the first
    252 days, with too little past, are `unknown`.
    """
    labels = np.full(len(prices), _UNKNOWN, dtype="<U17")
    if len(prices) <= _YEAR:
        return labels
    gap = prices[_YEAR:] / _mean_of_last(prices, _SLOW)[_YEAR:] - 1.0
    trend = np.select([gap > _BAND, gap < -_BAND], ["bull", "bear"], "sideways")
    returns = np.diff(np.log(prices))
    year = sliding_window_view(returns, _YEAR).std(axis=1)
    month = sliding_window_view(returns, _MONTH).std(axis=1)[-len(year) :]
    unrest = np.where(month > year, "_high_vol", "_low_vol")
    labels[_YEAR:] = np.strings.add(trend, unrest)
    return labels


def trend_actions(prices: NDArray[np.float64]) -> NDArray[np.str_]:
    """What a trend follower does at each day's close: `buy`, `sell` or `hold`.

    `buy` when close > mean of 50 closes > mean of 200 closes, `sell` when all of that is the other
    way round, else `hold` (stay out). prices: (days,) above 0. Answers (days,) str; `hold` for the
    first 199 days, which have no mean of 200.
    """
    fast, slow = _mean_of_last(prices, _FAST), _mean_of_last(prices, _SLOW)
    # Days without a mean hold NaN, and every comparison with NaN is false.
    up = (prices > fast) & (fast > slow)
    down = (prices < fast) & (fast < slow)
    actions: NDArray[np.str_] = np.select([up, down], ["buy", "sell"], "hold")
    return actions


def _mean_of_last(prices: NDArray[np.float64], days: int) -> NDArray[np.float64]:
    """(len(prices),): the mean of the `days` closes that end on each day, NaN while too few."""
    means = np.full(len(prices), np.nan)
    if len(prices) >= days:
        means[days - 1 :] = sliding_window_view(prices, days).mean(axis=1)
    return means
