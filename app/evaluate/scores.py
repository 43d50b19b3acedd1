"""Forecasts from each question's neighbours, and how good they were, question by question.

Every statistic is a mean of points, one for each question, and higher is better. So all of them are
resampled and compared in the same way.
"""

from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from app.contract.evaluation import StatisticName

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

STATISTICS: tuple[StatisticName, ...] = get_args(StatisticName)
MISSED = 0.1
"""The share of outcomes that the interval from q05 to q95 may miss."""

ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Up to k neighbours of each of n questions: (n, k). A weight of 0 means no neighbour."""

    rows: Rows
    weights: Floats

    def of(self, questions: Rows) -> "Neighbours":
        """Return those of these questions, in this order."""
        return Neighbours(self.rows[questions], self.weights[questions])


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Forecasts of each question's reward by its neighbours: (n,) each."""

    value: Floats
    loss_probability: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class Rules:
    """`stop_loss`: a loss is a reward below minus this. `cost`: what acting costs, in rewards."""

    stop_loss: float
    cost: float


def forecasts(neighbours: Neighbours, rewards: Floats, rules: Rules) -> Forecasts:
    """Return mean, chance of a loss, q05 and q95 of the neighbours, weighted as an estimate is.

    `rewards` (m,) are those of the memory; the neighbours' rows index them.
    """
    found, weights = rewards[neighbours.rows], neighbours.weights
    total = weights.sum(1)
    order = np.argsort(found, axis=1, kind="stable")
    ordered = np.take_along_axis(found, order, axis=1)
    reached = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    # Neighbours without weight are no neighbours, so they bound nothing.
    least = np.where(weights > 0, found, np.inf).min(1)
    largest = np.where(weights > 0, found, -np.inf).max(1)
    return Forecasts(
        # The mean of equal rewards is exactly theirs: else their ranks would be those of residues.
        value=np.clip((weights * found).sum(1) / total, least, largest),
        loss_probability=(weights * (found < -rules.stop_loss)).sum(1) / total,
        low=_quantile(ordered, reached, MISSED / 2),
        high=_quantile(ordered, reached, 1 - MISSED / 2),
    )


def _quantile(ordered: Floats, reached: Floats, share: float) -> Floats:
    """Return the smallest reward whose cumulative weight reaches this share."""
    wanted = (share - ROUNDING) * reached[:, -1:]
    at = (reached >= wanted).argmax(axis=1)
    found: Floats = ordered[np.arange(len(ordered)), at]
    return found


def points(told: Forecasts, came: Floats, rules: Rules) -> Floats:
    """Return (statistics, n) in the order of STATISTICS.

    The mean of the first row is Spearman's correlation of value and reward. The others are minus
    the Brier score (Brier 1950), minus the interval score (Gneiting, Raftery 2007), and the profit
    of acting only if the value is above the cost.
    """
    lost = came < -rules.stop_loss
    beyond = np.maximum(told.low - came, 0) + np.maximum(came - told.high, 0)
    acts = told.value > rules.cost
    return np.stack(
        [
            _standard_ranks(told.value) * _standard_ranks(came),
            -((told.loss_probability - lost) ** 2),
            -(told.high - told.low + 2 / MISSED * beyond),
            np.where(acts, came - rules.cost, 0.0),
        ]
    )


def _standard_ranks(values: Floats) -> Floats:
    """Return ranks with mean 0 and deviation 1. Equal values share a rank; all equal: all 0."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[where]
    away = ranks - ranks.mean()
    deviation = float(np.sqrt((away**2).mean()))
    found: Floats = away / deviation if deviation > 0 else np.zeros(len(values))
    return found
