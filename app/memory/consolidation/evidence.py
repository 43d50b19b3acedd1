"""Whether a pattern is more than luck: independent outcomes, and what came after it was found.

Clusters are found on the earlier part of the experiences. The later part, after a gap so that no
outcome is shared, played no part in finding them. Only that part may promote a pattern.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat

from app.memory.estimates.calibration import stationary_blocks
from app.memory.estimates.evidence import first_distinct
from app.storage.samples import Episode

EARLIER_PART = 0.7
MIN_INDEPENDENT = 30
MIN_DEFLATED = 0.95
LOWER_BOUND = 0.05
DRAWS = 1000
EULER = 0.5772156649015329

_NORMAL = NormalDist()


class LaterEvidence(BaseModel):
    """Evidence from a pattern's later memories, no two of a product overlapping in time.

    `t` is the mean over its standard error; `deflated_sharpe_ratio` the probability that the Sharpe
    ratio exceeds that of the best of `trials` worthless clusters; `mean_low` the lower 95 % bound
    of the mean.
    """

    independent_n: int = Field(ge=0)
    sharpe_ratio: FiniteFloat
    t: FiniteFloat
    deflated_sharpe_ratio: float = Field(ge=0, le=1)
    mean_low: FiniteFloat
    trials: int = Field(ge=1)

    @property
    def holds(self) -> bool:
        """Return whether this is enough to rely on the pattern."""
        return (
            self.independent_n >= MIN_INDEPENDENT
            and self.deflated_sharpe_ratio >= MIN_DEFLATED
            and self.mean_low > 0
        )


@dataclass(frozen=True, slots=True)
class Trials:
    """How many clusters were ever tried for an owner, and the variance of their Sharpe ratios."""

    count: int
    variance: float

    @property
    def best_by_luck(self) -> float:
        """Return the expected Sharpe ratio of the best of this many worthless clusters.

        Bailey, Lopez de Prado 2014.
        """
        if self.count < 2:
            return 0.0
        first = _NORMAL.inv_cdf(1 - 1 / self.count)
        second = _NORMAL.inv_cdf(1 - 1 / (self.count * math.e))
        return math.sqrt(self.variance) * ((1 - EULER) * first + EULER * second)


def split_in_time(episodes: Sequence[Episode]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of the earlier part, and of the later one that shares no outcome with it."""
    times = np.array([episode.timestamp for episode in episodes])
    limit = np.quantile(times, EARLIER_PART) if len(times) else 0.0
    earlier = np.flatnonzero(times <= limit)
    known = max((episodes[int(row)].outcome_at for row in earlier), default=float(limit))
    return earlier, np.flatnonzero((times > limit) & (times >= known))


def independent_rewards(episodes: Sequence[Episode]) -> NDArray[np.float64]:
    """Return the rewards of memories, in order of time, so that no two of a product overlap."""
    ordered = sorted(episodes, key=lambda e: (e.outcome_at, e.timestamp))
    kept = first_distinct(
        [episode.product_id for episode in ordered],
        [(episode.timestamp, episode.outcome_at) for episode in ordered],
        len(ordered),
    ).kept
    return np.array([ordered[i].reward for i in kept], np.float64)


def sharpe_ratio_of(rewards: NDArray[np.float64]) -> float:
    """Return the mean over the sample deviation; 0 if the deviation is 0."""
    if len(rewards) < 2:
        return 0.0
    scaled = _scaled(rewards)
    deviation = float(scaled.std(ddof=1))
    return float(scaled.mean()) / deviation if deviation > 1e-14 else 0.0


def later_evidence(episodes: Sequence[Episode], trials: Trials) -> LaterEvidence:
    """Return the evidence from a pattern's later memories."""
    rewards = independent_rewards(episodes)
    ratio = sharpe_ratio_of(rewards)
    return LaterEvidence(
        independent_n=len(rewards),
        sharpe_ratio=ratio,
        t=ratio * math.sqrt(len(rewards)),
        deflated_sharpe_ratio=_deflated(rewards, ratio, trials.best_by_luck),
        mean_low=_mean_low(rewards),
        trials=max(1, trials.count),
    )


def _deflated(rewards: NDArray[np.float64], ratio: float, by_luck: float) -> float:
    if len(rewards) < 3 or ratio == 0.0:
        return 0.0
    away = _scaled(rewards)
    away = (away - away.mean()) / away.std()
    skew, kurtosis = float((away**3).mean()), float((away**4).mean())
    spread = 1 - skew * ratio + (kurtosis - 1) / 4 * ratio * ratio
    if spread <= 0:
        return float(ratio > by_luck)
    return _NORMAL.cdf((ratio - by_luck) * math.sqrt(len(rewards) - 1) / math.sqrt(spread))


def _mean_low(rewards: NDArray[np.float64]) -> float:
    """Return the lower bound of the mean by the stationary block bootstrap, blocks of two."""
    if not len(rewards):
        return 0.0
    exponent = int(np.frexp(np.abs(rewards).max())[1])
    scaled = _scaled(rewards)
    means = scaled[stationary_blocks(len(rewards), 2.0, DRAWS)].mean(axis=1)
    return float(np.ldexp(np.quantile(means, LOWER_BOUND), exponent))


def _scaled(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rewards scaled by a power of two to near 1, so that squares fit in a float."""
    largest = np.abs(rewards).max()
    return np.ldexp(rewards, -int(np.frexp(largest)[1])) if largest > 0 else rewards
