"""Shrinkage: how far to trust similar moments over all moments.

A value is shrunk towards the baseline as if m more independent memories had the baseline's value. m
is the value that would have fitted the agent's own past best.
"""

import math

import numpy as np
from numpy.typing import NDArray

from app.memory.estimates.magnitude import exponent_of, times_power

Floats = NDArray[np.float64]

CANDIDATES = np.array([0.0, 10.0, 30.0, 100.0, 300.0, 1000.0, np.inf])
"""m: from similar moments alone to the baseline alone."""

DOUBT = 0.7
"""In standard errors: a smaller difference is no reason to trust similar moments more.

On planted markets and the demo's stocks, 0.3 trusted noise and 1 missed signals
(docs/reference/decisions-from-memories.md)."""


def drawn_in(own: float, base: float, n: float, m: float) -> float:
    """Return (n own + m base) / (n + m)."""
    share = part_of_baseline(n, m)
    step = share * (base - own)  # 0 for equal ones, whatever the share
    return own + step if math.isfinite(step) else (1.0 - share) * own + share * base


def part_of_baseline(n: float, m: float) -> float:
    """Return m / (n + m)."""
    return 1.0 if m == np.inf else m / (n + m)


def best_m(own: Floats, base: Floats, n: Floats, came: Floats) -> float:
    """Return the m whose estimates had the smallest mean squared error.

    All (k,): the neighbours' values, the baselines, the numbers of independent neighbours, and the
    outcomes. Among candidates that differ by no more than DOUBT standard errors, the one that leans
    most on the baseline wins: a few backcasts do not make a pattern.
    """
    exponent = exponent_of(own, base, came)
    own, base, came = (times_power(column, -exponent) for column in (own, base, came))
    with np.errstate(invalid="ignore"):
        share = np.where(
            np.isinf(CANDIDATES)[:, None], 1.0, CANDIDATES[:, None] / (n + CANDIDATES[:, None])
        )
    losses = (own + share * (base - own) - came) ** 2
    means = losses.mean(1)
    best = int(means.argmin())
    worse = losses - losses[best]
    error = worse.std(1, ddof=1) / np.sqrt(len(came))
    alike = worse.mean(1) <= DOUBT * error
    return float(CANDIDATES[np.flatnonzero(alike)[-1]])
