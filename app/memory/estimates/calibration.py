"""Calibration of past estimates: coverage, calibration error and skill, each with a range.

The ranges come from a stationary block bootstrap: outcomes near in time are alike, so they are
drawn in blocks (Politis, Romano 1994).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.memory.estimates.magnitude import ROUNDING, exponent_of, times_power

Floats = NDArray[np.float64]

BINS = 10
DRAWS = 200
SEED = 20
"""Fixed, so that the same estimates always get the same ranges."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A statistic with its 95 % interval. None if there is too little evidence."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    """Estimates with about the same chance of a loss: their mean, and the share that lost."""

    predicted: float
    observed: float
    count: int


@dataclass(frozen=True, slots=True)
class Past:
    """Estimates and outcomes as columns (n,), in order of time; NaN in `low` means no interval.

    `start` and `end`: when each was made and when its outcome was known, unix seconds.
    """

    start: Floats
    end: Floats
    reward: Floats
    low: Floats
    high: Floats
    value: Floats
    baseline: Floats
    loss: Floats
    loss_probability: Floats
    baseline_loss_probability: Floats


@dataclass(frozen=True, slots=True)
class Calibration:
    """The names are those of the answer."""

    n: int
    coverage: Figure
    ece: Figure
    slope: Figure
    brier_skill: Figure
    mse_skill: Figure
    reliability: list[Bin]


def calibration(past: Past, *, mean_block: float) -> Calibration:
    """Return the calibration of past estimates. `mean_block`: the mean length of a block."""
    n = len(past.reward)
    told = _figures(past) if n else np.full(len(_FIGURES), np.nan)
    drawn = np.empty((0, len(_FIGURES)))
    if n:
        draws = stationary_blocks(n, mean_block, DRAWS)
        drawn = np.array([_figures(_picked(past, rows)) for rows in draws])
    found = [_figure(float(value), drawn[:, i]) for i, value in enumerate(told)]
    names = ("coverage", "ece", "slope", "brier_skill", "mse_skill")
    bins = reliability(past.loss_probability, past.loss)
    return Calibration(n=n, **dict(zip(names, found, strict=True)), reliability=bins)


def _figures(past: Past) -> Floats:
    return np.array([figure(past) for figure in _FIGURES])


def _figure(value: float, drawn: Floats) -> Figure:
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not len(drawn):
        return Figure(None, None, None)
    low, high = np.quantile(drawn, [0.025, 0.975])
    # Drawn blocks are rougher than the original, so their calibration error is larger.
    return Figure(value, min(float(low), value), max(float(high), value))


def mean_block(start: NDArray[np.float64], end: NDArray[np.float64]) -> float:
    """Return twice the mean number of open memories, because overlapping outcomes are alike.

    `start`, `end` (n,) are the memories' times, in order.
    """
    if not len(start):
        return 2.0
    begun = np.searchsorted(start, end, side="left") - np.arange(len(start))
    return 2.0 * float(np.median(np.maximum(1, begun)))


def stationary_blocks(n: int, mean_block: float, draws: int) -> NDArray[np.int64]:
    """Return (draws, n) positions: blocks of geometric length, wrapped at the end."""
    rng = np.random.default_rng(SEED)
    begins = rng.random((draws, n)) < 1.0 / max(1.0, mean_block)
    begins[:, 0] = True
    starts = rng.integers(0, n, (draws, n))
    at = np.arange(n)
    since = at - np.maximum.accumulate(np.where(begins, at, 0), axis=1)
    block_start = np.take_along_axis(starts, at - since, axis=1)
    found: NDArray[np.int64] = (block_start + since) % n
    return found


def coverage(past: Past) -> float:
    """Return the share of outcomes within their intervals; NaN without any."""
    told = ~np.isnan(past.low)
    if not told.any():
        return float("nan")
    held = (past.low <= past.reward) & (past.reward <= past.high)
    return float(held[told].mean())


def expected_calibration_error(predicted: Floats, came: Floats) -> float:
    """Return the mean gap between prediction and outcome in BINS bins of equal count."""
    return sum(b.count * abs(b.predicted - b.observed) for b in reliability(predicted, came)) / len(
        came
    )


def reliability(predicted: Floats, came: Floats) -> list[Bin]:
    """Return the reliability curve, from the smallest chance to the largest."""
    order = np.argsort(predicted, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return [
        Bin(float(predicted[part].mean()), float(came[part].mean()), len(part)) for part in parts
    ]


def reliability_slope(predicted: Floats, came: Floats) -> float:
    """Return the slope of outcomes on predictions: 1 is ideal, below 1 is overconfident.

    NaN if all predictions are equal.
    """
    spread = predicted - predicted.mean()
    squares = float(spread @ spread)
    least = len(predicted) * ROUNDING**2
    return float(spread @ came) / squares if squares > least else float("nan")


def skill(predicted: Floats, baseline: Floats, came: Floats) -> float:
    """Return 1 - (mean squared error) / (that of the baseline): above 0, similarity helped."""
    exponent = exponent_of(predicted, baseline, came)
    told, known, was = (times_power(column, -exponent) for column in (predicted, baseline, came))
    error = float(((known - was) ** 2).mean())
    least = (ROUNDING * float(np.abs(was).max())) ** 2
    return 1.0 - float(((told - was) ** 2).mean()) / error if error > least else float("nan")


def _picked(past: Past, rows: NDArray[np.int64]) -> Past:
    return Past(
        past.start[rows],
        past.end[rows],
        past.reward[rows],
        past.low[rows],
        past.high[rows],
        past.value[rows],
        past.baseline[rows],
        past.loss[rows],
        past.loss_probability[rows],
        past.baseline_loss_probability[rows],
    )


_FIGURES: tuple[Callable[[Past], float], ...] = (
    coverage,
    lambda past: expected_calibration_error(past.loss_probability, past.loss),
    lambda past: reliability_slope(past.loss_probability, past.loss),
    lambda past: skill(past.loss_probability, past.baseline_loss_probability, past.loss),
    lambda past: skill(past.value, past.baseline, past.reward),
)
"""In the order of Calibration's fields."""
