"""The interval of an uplift, valid at every time at once, from sums that grow with each outcome.

Decisions are randomized to arms with known chances, so each gives a difference whose mean, given
all that came before, is the reward with the memory less the reward without it: the augmented
inverse-probability-weighted estimate, with the arms' earlier means subtracted (Robins, Rotnitzky,
Zhao 1994; for sequences Howard, Ramdas, McAuliffe, Sekhon 2021). Only the draw of the arm is
assumed to be random, so rewards may share days and trends.

The interval around their mean is the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha,
Kennedy and Ramdas (Time-uniform central limit theory and asymptotic confidence sequences, Annals of
Statistics 2024, theorem 2.2): a Gaussian mixture martingale with the variance so far. Rewards need
no bound. It holds from FEWEST_TOLD outcomes of each arm on, as `make try-uplift` shows.
"""

import math
from dataclasses import dataclass
from typing import Final

LEVEL: Final = 0.95
FEWEST_TOLD: Final = 100
"""Closed decisions of each of two arms before their difference is reported."""

NARROWEST_AT: Final = 500
"""Differences at which the interval is narrowest, for its level."""


@dataclass(frozen=True, slots=True)
class UpliftInterval:
    """A mean difference and the interval that holds the true one."""

    uplift: float
    low: float
    high: float


def uplift_interval(
    n: float, total: float, squares: float, *, error: float = 1.0 - LEVEL
) -> UpliftInterval:
    """Return the interval after `n` differences, from their sum and sum of squares.

    `error`: the probability that it ever excludes the true mean.
    """
    mean = total / n
    variance = max(0.0, squares / n - mean * mean)
    log = -2.0 * math.log(error)
    rho2 = (log + math.log(log) + 1.0) / NARROWEST_AT
    grown = n * rho2 + 1.0
    half = math.sqrt(variance * 2.0 * grown / (n * n * rho2) * math.log(math.sqrt(grown) / error))
    return UpliftInterval(mean, mean - half, mean + half)
