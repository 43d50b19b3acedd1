"""What a cluster's rewards say."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, Field

from app.storage.episode_source import Episode

DIGITS = 12
"""A sum in another order differs in the last digits: that is no change of a pattern."""


class RewardStatistics(BaseModel):
    """Of the rewards of closed memories, in the agent's own unit.

    `sharpe_ratio` is mean over standard deviation (of the sample), per memory and not scaled to a
    year; 0 where all rewards are the same, which leaves no deviation to divide by.
    """

    n: int = Field(ge=1)
    mean_reward: float
    stdev_reward: float
    win_rate: float
    sharpe_ratio: float
    q05_reward: float
    q95_reward: float


def statistics_of(episodes: Sequence[Episode]) -> RewardStatistics:
    """The statistics of at least one memory."""
    rewards = np.array([episode.reward for episode in episodes], np.float64)
    mean = float(rewards.mean())
    stdev = float(rewards.std(ddof=1)) if len(rewards) > 1 else 0.0
    q05, q95 = np.quantile(rewards, [0.05, 0.95])
    return RewardStatistics(
        n=len(rewards),
        mean_reward=_rounded(mean),
        stdev_reward=_rounded(stdev),
        win_rate=_rounded(float((rewards > 0).mean())),
        sharpe_ratio=_rounded(mean / stdev) if stdev > 0 else 0.0,
        q05_reward=_rounded(float(q05)),
        q95_reward=_rounded(float(q95)),
    )


def by_action(episodes: Sequence[Episode]) -> dict[str, RewardStatistics]:
    """The statistics of each action that was taken, by its name."""
    actions = sorted({episode.action for episode in episodes if episode.action is not None})
    return {
        action: statistics_of([episode for episode in episodes if episode.action == action])
        for action in actions
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
