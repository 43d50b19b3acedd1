"""Market regimes from trend and volatility, and the action that a plain trend follower takes.

Both use closing prices up to and including the day they speak of, and nothing later.
"""

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

_MONTH: Final = 21
_QUARTER: Final = 63
_SLOW: Final = 200
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
    slow_mean = sliding_window_view(prices, _SLOW).mean(axis=1)[_YEAR - _SLOW + 1 :]
    gap = prices[_YEAR:] / slow_mean - 1.0
    trend = np.select([gap > _BAND, gap < -_BAND], ["bull", "bear"], "sideways")
    returns = np.diff(np.log(prices))
    year = sliding_window_view(returns, _YEAR).std(axis=1)
    month = sliding_window_view(returns, _MONTH).std(axis=1)[-len(year) :]
    unrest = np.where(month > year, "_high_vol", "_low_vol")
    labels[_YEAR:] = np.strings.add(trend, unrest)
    return labels


def trend_actions(prices: NDArray[np.float64]) -> NDArray[np.str_]:
    """What a trend follower does at each day's close: `buy`, `sell` or `hold`.

    `buy` when the price has risen more than 3 % over the last 63 trading days (a quarter), `sell`
    when it has fallen more than 3 %, else `hold` (stay out). prices: (days,) above 0. Answers
    (days,) str; `hold` for the first 63 days, which have too little past.
    """
    change = np.zeros(len(prices))
    change[_QUARTER:] = prices[_QUARTER:] / prices[:-_QUARTER] - 1.0
    actions: NDArray[np.str_] = np.select(
        [change > _BAND, change < -_BAND], ["buy", "sell"], "hold"
    )
    return actions
