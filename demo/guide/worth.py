"""Measures what a way of deciding earned, and how well a way of forecasting predicted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.guide.trader import COST, Expectation

_BLOCK = 12
_DRAWS = 2000

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the bounds between which 95 % of bootstrap draws lie."""

    value: float
    low: float
    high: float


def net_rewards(bought: NDArray[np.bool_], rewards: Floats) -> Floats:
    """Return (days,), the mean over products of what each day's positions earned until the next.

    Each day every product gets an equal part of the money; what is not bought earns nothing.
    Costs are paid where a position begins or ends; the first day begins without any.
    """
    held = bought.astype(np.float64)
    before = np.vstack([np.zeros((1, held.shape[1])), held[:-1]])
    net: Floats = (held * rewards - COST * np.abs(held - before)).mean(axis=1)
    return net


def values(expected: Sequence[Sequence[Expectation]]) -> Floats:
    """Return the values alone, (days, products)."""
    return np.array([[one.value for one in day] for day in expected])


def stdevs(expected: Sequence[Sequence[Expectation]]) -> Floats:
    """Return the deviations alone, (days, products); 0 if unknown."""
    return np.array([[one.stdev or 0.0 for one in day] for day in expected])


def explained(forecast: Floats, plain: Floats, rewards: Floats, *, seed: int) -> Interval:
    """Return the share of the plain forecast's squared error avoided; below 0: it adds some."""
    own = ((forecast - rewards) ** 2).mean(axis=1)
    other = ((plain - rewards) ** 2).mean(axis=1)
    drawn = [1 - own[rows].sum() / other[rows].sum() for rows in _blocks(len(own), seed)]
    return Interval(float(1 - own.sum() / other.sum()), *_bounds(drawn))


def foreseen_size(stdevs: Floats, plain: Floats, rewards: Floats) -> float:
    """Return the correlation of expected deviation and distance of reward from plain forecast.

    0 if the same deviation is expected everywhere.
    """
    if np.ptp(stdevs) == 0:
        return 0.0
    return float(np.corrcoef(stdevs.ravel(), np.abs(rewards - plain).ravel())[0, 1])


def mean_interval(daily: Floats, *, seed: int) -> Interval:
    """Return the mean of a series whose neighbours may depend on each other."""
    drawn = [float(daily[rows].mean()) for rows in _blocks(len(daily), seed)]
    return Interval(float(daily.mean()), *_bounds(drawn))


def _blocks(length: int, seed: int) -> list[NDArray[np.int64]]:
    """Return rows of bootstrap draws in blocks of about a year, to keep dependent days together."""
    generator = np.random.default_rng(seed)
    starts = generator.integers(0, length, (_DRAWS, -(-length // _BLOCK)))
    rows = (starts[:, :, np.newaxis] + np.arange(_BLOCK)) % length
    return list(rows.reshape(_DRAWS, -1)[:, :length])


def _bounds(drawn: Sequence[float]) -> tuple[float, float]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
