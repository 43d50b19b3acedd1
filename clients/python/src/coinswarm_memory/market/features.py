"""The numbers that a state is made of, from the bars of one window.

For a bar t and a window of w bar-to-bar log returns that ends on t, in four blocks of equal length:

1. returns: the latest returns, in units of the window's volatility;
2. momentum: the return over ever longer spans, in units of what that volatility makes usual over
   such a span (times the root of its length);
3. unrest: how restless a twelfth of the window was, at points of the window, as the log of its
   ratio to the whole window; by the bars' ranges where high and low are known, else by returns;
4. drawdown: how far the price stood below the window's high so far, at points of the window, in
   units of the volatility over the whole window. With volume, half of this block is the volume of
   the latest bars, as the log of its ratio to the window's mean.

The units make a quiet and a nervous product comparable. Each number is then standardised by its
mean and deviation in a random walk: 2 is two deviations from what chance shows. So nothing is
learned from prices, and a state is made of the bars of its window and of nothing else.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from coinswarm_memory.market.bars import Bars

Array = npt.NDArray[np.float64]

LIMIT: Final = 4.0
"""Numbers are cut here, so that one crash does not decide a whole comparison."""

_STEP: Final = 1.0 / 1024.0
_STILL: Final = 1e-12
_REFERENCE_WALKS: Final = 40
_REFERENCE_SEED: Final = 20_260_101


@dataclass(frozen=True, slots=True)
class Layout:
    """What the numbers of a state are, and whether they use high and low, and volume."""

    window: int
    dimension: int
    with_range: bool
    with_volume: bool

    @property
    def points(self) -> int:
        """Numbers in each block."""
        return self.dimension // 4

    @property
    def short(self) -> int:
        """Returns in the span whose unrest is measured."""
        return max(self.window // 12, 5)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Each number's mean and deviation in a random walk, shape (dimension,) each."""

    mean: Array
    deviation: Array


def states(bars: Bars, layout: Layout, reference: Reference) -> npt.NDArray[np.float32]:
    """Return one state for each bar from number `window` on, shape (bars - window, dimension).

    A row is NaN if a bar of its window is missing, or if the price never moved.
    """
    raw = _features(bars, layout)
    scaled = np.clip((raw - reference.mean) / reference.deviation, -LIMIT, LIMIT)
    # Processors differ in the last bits of sums and logs; steps of 1/1024 hide that, so the same
    # bars give the same bytes everywhere. `+ 0.0` drops -0.
    stepped: npt.NDArray[np.float32] = (np.round(scaled / _STEP) * _STEP + 0.0).astype(np.float32)
    return stepped


def _features(bars: Bars, layout: Layout) -> Array:
    window, points = layout.window, layout.points
    levels = np.log(bars.close)
    returns = sliding_window_view(np.diff(levels), window)
    paths = sliding_window_view(levels, window + 1)
    volatility = returns.std(axis=1, keepdims=True)
    volatility[volatility < _STILL] = np.nan
    blocks = [
        returns[:, _latest(window, points)] / volatility,
        _momentum(paths, layout) / volatility,
        _unrest(bars, layout, volatility),
        *_end_blocks(bars, paths, layout, volatility),
    ]
    return np.concatenate(blocks, axis=1)


def _momentum(paths: Array, layout: Layout) -> Array:
    shortest = max(round(layout.window / layout.points), 1)
    spans = np.linspace(shortest, layout.window, layout.points).round().astype(np.int64)
    moves: Array = (paths[:, -1:] - paths[:, layout.window - spans]) / np.sqrt(spans)
    return moves


def _unrest(bars: Bars, layout: Layout, volatility: Array) -> Array:
    """Return the squared moves of each bar, over a short span and over the whole window."""
    if layout.with_range:
        moves = np.log(bars.high / bars.low)[1:] ** 2
    else:
        moves = np.diff(np.log(bars.close)) ** 2
    short = np.sqrt(sliding_window_view(moves, layout.short).mean(axis=1))
    whole = np.sqrt(sliding_window_view(moves, layout.window).mean(axis=1))[:, np.newaxis]
    whole = np.where(whole > _STILL, whole, volatility)
    starts = np.linspace(0, layout.window - layout.short, layout.points).round().astype(np.int64)
    at = np.arange(len(whole))[:, np.newaxis] + starts
    unrest: Array = np.log(np.maximum(short[at] / whole, 1e-2))
    return unrest


def _end_blocks(bars: Bars, paths: Array, layout: Layout, volatility: Array) -> list[Array]:
    points = layout.points // 2 if layout.with_volume else layout.points
    below_high = paths - np.maximum.accumulate(paths, axis=1)
    first = max(round(layout.window / layout.points), 1)
    at = np.linspace(first, layout.window, points).round().astype(np.int64)
    drawdown = below_high[:, at] / (volatility * np.sqrt(layout.window))
    if not layout.with_volume:
        return [drawdown]
    volumes = sliding_window_view(bars.volume[1:], layout.window)
    mean = volumes.mean(axis=1, keepdims=True)
    mean[mean <= 0] = np.nan
    latest = volumes[:, _latest(layout.window, layout.points - points)]
    return [drawdown, np.log1p(latest / mean)]


def _latest(window: int, points: int) -> npt.NDArray[np.int64]:
    """Return which returns of a window are the latest `points`; some twice if too few."""
    first = max(window - points, 0)
    return np.linspace(first, window - 1, points).round().astype(np.int64)


@lru_cache(maxsize=16)
def random_walk_reference(layout: Layout) -> Reference:
    """Return what the numbers are in 40 random walks of three windows each."""
    generator = np.random.default_rng(_REFERENCE_SEED)
    walks = [_random_bars(generator, 3 * layout.window + 1) for _ in range(_REFERENCE_WALKS)]
    table = np.concatenate([_features(walk, layout) for walk in walks])
    return Reference(table.mean(axis=0), np.maximum(table.std(axis=0), _STILL))


def _random_bars(generator: np.random.Generator, count: int) -> Bars:
    moves = generator.normal(0.0, 0.01, (count, 8)).cumsum().reshape(count, 8)
    volume = np.exp(generator.normal(0.0, 0.5, count))
    prices = np.exp(moves)
    return Bars(
        product="",
        times=np.arange(count, dtype=np.float64),
        high=prices.max(axis=1),
        low=prices.min(axis=1),
        close=prices[:, -1],
        volume=volume,
    )
