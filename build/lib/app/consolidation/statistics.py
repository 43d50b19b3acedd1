"""What a cluster's rewards say."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat

from app.storage.episode_source import Episode

DIGITS = 12
"""A sum in another order differs in the last digits: that is no change of a pattern."""


RESIDUE = 1e-14
"""Rewards that differ by less than this part of the largest are the same: it is what some sums and
products of floats leave."""


class RewardStatistics(BaseModel):
    """Of the rewards of closed memories, in the agent's own unit.

    `sharpe_ratio` is mean over standard deviation (of the sample), per memory and not scaled to a
    year; 0 where all rewards are the same, which leaves no deviation to divide by.
    """

    n: int = Field(ge=1)
    mean_reward: FiniteFloat
    stdev_reward: float = Field(ge=0, allow_inf_nan=False)
    win_rate: float = Field(ge=0, le=1)
    sharpe_ratio: FiniteFloat
    q05_reward: FiniteFloat
    q95_reward: FiniteFloat


def statistics_of(episodes: Sequence[Episode]) -> RewardStatistics:
    """Return the statistics of at least one memory.

    Raises ValueError for rewards whose deviation no float can hold.
    """
    rewards = np.array([episode.reward for episode in episodes], np.float64)
    # A power of two takes no digit away, and sums and squares stay in the range of a float.
    exponent = int(np.frexp(np.abs(rewards).max())[1])
    scaled = np.ldexp(rewards, -exponent)
    mean, stdev = _moments(scaled)
    q05, q95 = (_quantile(np.sort(scaled), share) for share in (0.05, 0.95))
    try:
        return RewardStatistics(
            n=len(rewards),
            mean_reward=_rounded(math.ldexp(mean, exponent)),
            stdev_reward=_rounded(math.ldexp(stdev, exponent)),
            win_rate=_rounded(int((rewards > 0).sum()) / len(rewards)),
            sharpe_ratio=_rounded(mean / stdev) if stdev > 0 else 0.0,
            q05_reward=_rounded(math.ldexp(q05, exponent)),
            q95_reward=_rounded(math.ldexp(q95, exponent)),
        )
    except OverflowError as error:
        raise ValueError("the rewards are too large for a standard deviation") from error


def _moments(rewards: NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and sample deviation; 0 for rewards that differ in their last digits alone."""
    least, largest = float(rewards.min()), float(rewards.max())
    if len(rewards) == 1 or largest - least <= RESIDUE * max(-least, largest):
        return min(max(math.fsum(rewards) / len(rewards), least), largest), 0.0
    first = math.fsum(rewards) / len(rewards)
    residue = math.fsum(rewards - first) / len(rewards)
    squares = math.fsum((rewards - first) ** 2) - len(rewards) * residue * residue
    mean = min(max(first + residue, least), largest)
    return mean, math.sqrt(max(0.0, squares) / (len(rewards) - 1))


def _quantile(ascending: NDArray[np.float64], share: float) -> float:
    """Return the quantile, linear between two rewards and never beyond them."""
    place = share * (len(ascending) - 1)
    below = int(place)
    low, high = float(ascending[below]), float(ascending[min(below + 1, len(ascending) - 1)])
    return min(max(low + (high - low) * (place - below), low), high)


def by_action(episodes: Sequence[Episode]) -> dict[str, RewardStatistics]:
    """The statistics of each action that was taken, by its name."""
    actions = sorted({episode.action for episode in episodes if episode.action is not None})
    return {
        action: statistics_of([episode for episode in episodes if episode.action == action])
        for action in actions
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
