"""From states and rewards to the weight of each number of a state.

Ridge regression of the reward on each number and its square says how much each of them matters.
How strongly it is held back is chosen by predicting blocks of time from the other ones, of which
what overlaps the block, or comes just after it, is left out (purge and embargo: Lopez de Prado
2018, chapter 7). Numbers whose coefficients chance alone would leave are not counted (Benjamini,
Hochberg 1995).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from app.memory.estimates.magnitude import ROUNDING, exponent_of, times_power

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

BLOCKS = 5
FEWEST_ROWS = 100
PENALTIES = np.geomspace(0.03, 30.0, 9)
"""As shares of the rows: of a standardised number, the penalty beside its own sum of squares."""

FALSE_SHARE = 0.1
"""Of the numbers that count, how many may do so by chance, on average."""

SAME = 1e-6
"""Squares of standardised numbers that vary by less vary by float32's rounding."""

KEPT_FOR_ALL = 0.05
"""The part of all weight that is shared evenly, so that a state that is new in every other number
is still far away."""


@dataclass(frozen=True, slots=True)
class Lived:
    """Closed memories that do not overlap within a product: states (n, d); the others (n,).

    `start` and `end`: from when to when each reward was earned, unix seconds.
    """

    states: NDArray[np.float32]
    reward: Floats
    start: Floats
    end: Floats


@dataclass(frozen=True, slots=True)
class Fitted:
    """`weights` (d,) sum to 1; `spread` (d,) is the standard deviation of each number.

    `explained`: the share of the rewards' variance that blocks of time left out were predicted to,
    at or below 0 if nothing is. `mattering`: how many numbers count. `weights` is None if none do.
    """

    weights: Floats | None
    spread: Floats
    linear: Floats
    squared: Floats
    explained: float
    mattering: int


def fit(lived: Lived) -> Fitted:
    """Return what matters. Needs FEWEST_ROWS rows."""
    order = np.argsort(lived.start, kind="stable")
    states = lived.states[order].astype(np.float64)
    start, end = lived.start[order], lived.end[order]
    exponent = exponent_of(lived.reward)
    reward = times_power(lived.reward[order], -exponent)
    spread = states.std(axis=0)
    if float(np.ptp(reward)) <= ROUNDING * float(np.abs(reward).max()):
        nothing = np.zeros(states.shape[1])
        return Fitted(None, spread, nothing, nothing, 0.0, 0)
    features = _features(states, spread)
    penalty, explained = _best_penalty(features, reward, start, end)
    shift = features.mean(axis=0)
    solved = _Ridge(features - shift, reward - reward.mean())
    found = solved.coefficients(penalty)
    chance = solved.chance(penalty, found)
    is_proven = below_false_share(chance)
    linear, squared = np.split(np.where(is_proven, found, 0.0), 2)
    importance = linear**2 + squared**2
    mattering = int((importance > 0).sum())
    weights = None
    if explained > 0 and mattering:
        varies = spread > 0
        weights = (1 - KEPT_FOR_ALL) * importance / importance.sum()
        weights = weights + KEPT_FOR_ALL * varies / varies.sum()
    linear, squared = times_power(linear, exponent), times_power(squared, exponent)
    return Fitted(weights, spread, linear, squared, explained, mattering)


def below_false_share(chance: Floats) -> NDArray[np.bool_]:
    """Return which of these p-values are proven together (Benjamini, Hochberg 1995)."""
    ordered = np.sort(chance)
    allowed = FALSE_SHARE * np.arange(1, len(chance) + 1) / len(chance)
    passed = np.flatnonzero(ordered <= allowed)
    limit = ordered[passed[-1]] if len(passed) else -1.0
    found: NDArray[np.bool_] = chance <= limit
    return found


def _features(states: Floats, spread: Floats) -> Floats:
    """Return each number standardised, and its square standardised: (n, 2 d). 0 if constant."""
    away = (states - states.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    squares = away**2
    wide = squares.std(axis=0)
    # The square of a number with two values as far from the mean does not vary.
    varies = wide > SAME
    squares = np.where(varies, squares - squares.mean(axis=0), 0.0) / np.where(varies, wide, 1.0)
    return np.concatenate([away, squares], axis=1)


class _Ridge:
    """Solved once for every penalty. The columns of `features` and `reward` have mean 0."""

    def __init__(self, features: Floats, reward: Floats) -> None:
        self._values, self._vectors = np.linalg.eigh(features.T @ features)
        self._values = np.maximum(self._values, 0.0)
        self._along = self._vectors.T @ (features.T @ reward)
        self._rows = len(reward)
        self._variance = float(reward @ reward) / self._rows

    def coefficients(self, penalty: float) -> Floats:
        found: Floats = self._vectors @ (self._along / (self._values + penalty * self._rows))
        return found

    def chance(self, penalty: float, found: Floats) -> Floats:
        """Return the chance of a coefficient as large, if rewards did not depend on states."""
        share = self._values / (self._values + penalty * self._rows) ** 2
        deviation = np.sqrt(self._variance * (self._vectors**2 @ share))
        z = np.abs(found) / np.where(deviation > 0, deviation, 1.0)
        p: Floats = np.where(deviation > 0, 2.0 * ndtr(-z), 1.0)
        return p


def _best_penalty(
    features: Floats, reward: Floats, start: Floats, end: Floats
) -> tuple[float, float]:
    """Return the penalty that predicts blocks of time best, and the share of variance explained."""
    lost = np.zeros(len(PENALTIES))
    total = 0.0
    embargo = float(np.median(end - start))
    for block in np.array_split(np.arange(len(reward)), BLOCKS):
        first, last = start[block[0]], end[block].max() + embargo
        others = np.flatnonzero((end <= first) | (start >= last))
        if len(others) < FEWEST_ROWS // 2:
            continue
        shift, middle = features[others].mean(axis=0), reward[others].mean()
        ridge = _Ridge(features[others] - shift, reward[others] - middle)
        total += float(((reward[block] - middle) ** 2).sum())
        for i, penalty in enumerate(PENALTIES):
            told = (features[block] - shift) @ ridge.coefficients(penalty) + middle
            lost[i] += float(((reward[block] - told) ** 2).sum())
    if total == 0.0:
        return float(PENALTIES[-1]), 0.0
    best = int(lost.argmin())
    return float(PENALTIES[best]), float(1.0 - lost[best] / total)
