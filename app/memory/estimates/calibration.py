"""Did past estimates hold what they said? Coverage, calibration error and skill, each with a range.

The ranges are of a stationary block bootstrap: outcomes near in time are alike, so they are drawn
in blocks (Politis, Romano 1994).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 10
DRAWS = 400
SEED = 20
"""The same record has the same ranges."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A statistic with its 95 % interval. None if there is too little evidence."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    """Estimates of about the same chance of a loss: what was said on average, and what came."""

    predicted: float
    observed: float
    count: int


@dataclass(frozen=True, slots=True)
class Past:
    """Estimates and outcomes as columns (n,), in order of time; NaN in `low`: no interval yet.

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
    """Return the record of past estimates. `mean_block`: memories in a block, on average."""
    n = len(past.reward)
    draws = list(stationary_blocks(n, mean_block, DRAWS)) if n else []

    def figure(statistic: Callable[[Past], float]) -> Figure:
        value = statistic(past) if n else np.nan
        if not np.isfinite(value):
            return Figure(None, None, None)
        drawn = np.array([statistic(_picked(past, rows)) for rows in draws])
        drawn = drawn[np.isfinite(drawn)]
        low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (value, value)
        # Drawn blocks are rougher than the record, so the error of calibration is larger in them.
        return Figure(float(value), min(float(low), value), max(float(high), value))

    return Calibration(
        n=n,
        coverage=figure(coverage),
        ece=figure(lambda p: expected_calibration_error(p.loss_probability, p.loss)),
        slope=figure(lambda p: reliability_slope(p.loss_probability, p.loss)),
        brier_skill=figure(
            lambda p: skill(p.loss_probability, p.baseline_loss_probability, p.loss)
        ),
        mse_skill=figure(lambda p: skill(p.value, p.baseline, p.reward)),
        reliability=reliability(past.loss_probability, past.loss),
    )


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
    """Return the mean gap between what was said and what came, in BINS bins of equal count."""
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
    """Return the slope of what came on what was said: 1 is right, below 1 says too much.

    NaN where the same was always said.
    """
    spread = predicted - predicted.mean()
    squares = float(spread @ spread)
    return float(spread @ came) / squares if squares > 0 else float("nan")


def skill(predicted: Floats, baseline: Floats, came: Floats) -> float:
    """Return 1 - (mean squared error) / (that of the baseline): above 0, similarity helped."""
    error = float(((baseline - came) ** 2).mean())
    return 1.0 - float(((predicted - came) ** 2).mean()) / error if error > 0 else float("nan")


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
