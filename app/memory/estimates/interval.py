"""Intervals with the stated coverage: conformalized quantile regression.

A backcast is the estimate that a memory would have got as a question at its own time. How far the
outcomes of past backcasts lay outside their quantiles determines how far the next question's
quantiles are moved (Romano, Patterson, Candes 2019, with a separate error for each side).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.memory.estimates.magnitude import exponent_of, times_power

Floats = NDArray[np.float64]

LEVEL = 0.9
ONE_SIDE = 1.0 - (1.0 - LEVEL) / 2.0
MIN_BACKCASTS = 20
"""With fewer, 95 % of one side cannot be distinguished from all of it."""

Method = Literal["cqr", "quantile"]


@dataclass(slots=True)
class Interval:
    """Where the outcome lies with probability `level`. The names are those of the answer. Never
    modified.

    method: cqr, or quantile if too few backcasts are known to correct it. n: how many backcasts.
    coverage: the share of them whose corrected interval contains the outcome.
    """

    level: float
    low: float
    high: float
    method: Method
    n: int
    coverage: float | None


@dataclass(frozen=True, slots=True)
class Correction:
    """How far each end moves outwards, in units of a backcast's spread."""

    low: float
    high: float
    n: int
    coverage: float

    def interval(self, low: float, high: float, spread: float) -> Interval | None:
        """Return the corrected interval of a question. None if no float can hold it."""
        ends = low - self.low * spread, high + self.high * spread
        if not all(map(math.isfinite, ends)):
            return None
        return Interval(LEVEL, min(ends), max(ends), "cqr", self.n, self.coverage)


def correction(low: Floats, high: Floats, spread: Floats, reward: Floats) -> Correction | None:
    """Return the correction from past backcasts. None for fewer than MIN_BACKCASTS.

    All (n,): the ends of each quantile interval, its spread, and the outcome.
    """
    n = len(reward)
    if n < MIN_BACKCASTS:
        return None
    exponent = exponent_of(low, high, reward)
    low, high, reward, spread = (
        times_power(column, -exponent) for column in (low, high, reward, spread)
    )
    below, above = _in_units(low - reward, spread), _in_units(reward - high, spread)
    move_low, move_high = _quantile(below), _quantile(above)
    held = (below <= move_low) & (above <= move_high)
    return Correction(move_low, move_high, n, float(held.mean()))


def _quantile(errors: Floats) -> float:
    """Return the error that the next one exceeds with the probability that one side may have.

    The (n + 1) p-th smallest, between two ranks by a straight line (type 6 of Hyndman and Fan
    1996). The rank above alone, which is what never covers too little, covers 0.94 at 32 backcasts.
    """
    n = len(errors)
    place = (n + 1) * ONE_SIDE
    below = min(n, math.floor(place))
    above = min(n, below + 1)
    ordered = np.partition(errors, [below - 1, above - 1])
    low, high = ordered.item(below - 1), ordered.item(above - 1)
    if low == high or not (math.isfinite(low) and math.isfinite(high)):
        return high
    return low + (place - below) * (high - low)


def _in_units(distance: Floats, spread: Floats) -> Floats:
    """Return distance / spread; 0 or infinity if the spread is 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.nan_to_num(distance / spread, nan=0.0, posinf=np.inf, neginf=-np.inf)


def uncorrected(low: float, high: float) -> Interval:
    """Return the quantiles themselves as the interval."""
    return Interval(LEVEL, low, high, "quantile", 0, None)
