"""The state vector: 256 numbers that say how a product's price has behaved over the past year.

For day t, from the 252 daily log returns that end on t (one trading year), in four blocks of 64:

1. daily returns: the last 64 days' returns, each in units of the year's daily volatility;
2. momentum: the return over the last 4, 8, ... 252 days (64 spans), in units of what that
   volatility makes usual over such a span (times the root of its length);
3. volatility: the volatility of 21 days at 64 points of the year, as the log of its ratio to the
   whole year's;
4. drawdown: how far the price stood below the year's high so far, at 64 points, in units of the
   year's volatility over 252 days.

The units make a quiet and a nervous stock comparable. Then every one of the 256 numbers is
standardised per product: less its mean, divided by its standard deviation, both taken over that
product's own days from its first window up to and including t (an expanding span, so nothing later
than t is used). The first 252 windows of a product only serve as that span and get no vector.
Values are cut at 4 deviations, so that one crash day does not decide a whole comparison.
"""

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

DIMENSION: Final = 256
"""Numbers in a state vector."""

LOOKBACK: Final = 252
"""Daily returns that a window covers: one trading year."""

BURN_IN: Final = 252
"""Windows that only serve to standardise the later ones."""

FIRST_DAY: Final = LOOKBACK + BURN_IN
"""Number of the first day (from 0) that has a state vector: two trading years in."""

_BLOCK: Final = DIMENSION // 4
_SHORT: Final = 21
_LIMIT: Final = 4.0
_SPANS: Final = np.linspace(4, LOOKBACK, _BLOCK).round().astype(np.int64)
_VOLATILITY_POINTS: Final = np.linspace(0, LOOKBACK - _SHORT, _BLOCK).round().astype(np.int64)
_DRAWDOWN_POINTS: Final = np.linspace(4, LOOKBACK, _BLOCK).round().astype(np.int64)
# A price that stands still has no volatility: this floor (0.01 % a day) keeps the ratios finite.
_CALM: Final = 1e-4


def state_vectors(prices: NDArray[np.float64]) -> NDArray[np.float32]:
    """The vectors of one product's days from number FIRST_DAY on.

    prices: (days,) closing prices, above 0, in order of time. Answers (days - FIRST_DAY, 256)
    float32, row i for day FIRST_DAY + i; no rows when there are too few days.
    """
    if len(prices) <= FIRST_DAY:
        return np.zeros((0, DIMENSION), dtype=np.float32)
    standardised = _standardise(_year_windows(np.log(prices)))[BURN_IN:]
    clipped = np.clip(standardised, -_LIMIT, _LIMIT)
    # Processors differ in the last bits of sums and logs; steps of 1/1024 hide that, so the same
    # day has the same bytes everywhere and storing it again finds it unchanged. `+ 0.0` drops -0.
    stepped: NDArray[np.float32] = (np.round(clipped * 1024.0) / 1024.0 + 0.0).astype(np.float32)
    return stepped


def _year_windows(log_prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """(days - LOOKBACK, 256): the four blocks, not yet standardised; row i is day LOOKBACK + i."""
    returns = np.diff(log_prices)
    years = sliding_window_view(returns, LOOKBACK)
    levels = sliding_window_view(log_prices, LOOKBACK + 1)
    volatility = np.maximum(years.std(axis=1, keepdims=True), _CALM)

    daily = years[:, -_BLOCK:] / volatility
    spans = levels[:, -1:] - levels[:, LOOKBACK - _SPANS]
    momentum = spans / (volatility * np.sqrt(_SPANS))
    short = np.maximum(sliding_window_view(returns, _SHORT).std(axis=1), _CALM)
    points = np.arange(len(years))[:, np.newaxis] + _VOLATILITY_POINTS
    unrest = np.log(short[points] / volatility)
    below_high = levels - np.maximum.accumulate(levels, axis=1)
    drawdown = below_high[:, _DRAWDOWN_POINTS] / (volatility * np.sqrt(LOOKBACK))
    return np.concatenate([daily, momentum, unrest, drawdown], axis=1)


def _standardise(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each column by its own mean and deviation over the rows up to and including its own."""
    count = np.arange(1, len(features) + 1, dtype=np.float64)[:, np.newaxis]
    mean = np.cumsum(features, axis=0) / count
    variance = np.cumsum(features**2, axis=0) / count - mean**2
    deviation = np.sqrt(np.maximum(variance, 0.0))
    scaled: NDArray[np.float64] = (features - mean) / np.maximum(deviation, 1e-6)
    return scaled
