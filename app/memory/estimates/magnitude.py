"""Keeps statistics of very large and very small rewards within the range of floats.

Squares of rewards beyond 2^500 overflow, those below 2^-500 vanish. So such rewards are divided by
a power of two first, which takes no digit away, and results are multiplied by it again. What is
beyond the largest float then becomes the largest float.
"""

import math
import sys

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LARGEST = sys.float_info.max
SAFE_EXPONENTS = (-300, 300)
"""Powers of two: sums of squares of numbers in this range neither vanish nor overflow."""

ROUNDING = 8.0 * sys.float_info.epsilon
"""The relative error that may remain of a difference of two equal numbers."""


def exponent_of(*columns: Floats) -> int:
    """Return the power of two to divide these numbers by; 0 if their squares fit as they are."""
    largest = max(float(np.abs(column).max(initial=0.0)) for column in columns)
    exponent = math.frexp(largest)[1]
    return 0 if SAFE_EXPONENTS[0] < exponent < SAFE_EXPONENTS[1] else exponent


def times_power(values: Floats, exponent: int) -> Floats:
    """Return values * 2^exponent, at most the largest float."""
    if not exponent:
        return values
    with np.errstate(over="ignore", under="ignore"):
        found: Floats = np.clip(np.ldexp(values, exponent), -LARGEST, LARGEST)
    return found


def clamped(value: float) -> float:
    """Return the nearest finite number."""
    return min(max(value, -LARGEST), LARGEST)


def per_scale(rewards: Floats, scale: Floats) -> Floats:
    """Return the rewards in units of their scales (NaN: 1), at most the largest float."""
    with np.errstate(over="ignore", under="ignore"):
        found: Floats = rewards / np.where(np.isnan(scale), 1.0, scale)
    return np.clip(found, -LARGEST, LARGEST)
