"""A pattern is promoted for what came after it was found: true ones are, lucky ones are not."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from app.memory.consolidation.evidence import (
    MIN_INDEPENDENT,
    Trials,
    independent_rewards,
    later_evidence,
    sharpe_ratio_of,
    split_in_time,
)
from app.storage.samples import Episode

HOUR = 3600.0


def episodes(rewards: NDArray[np.float64], *, every_s: float, lasts_s: float) -> list[Episode]:
    return [
        Episode("a", str(i), "bull", "buy", float(r), i * every_s, b"", "P", i * every_s + lasts_s)
        for i, r in enumerate(rewards)
    ]


def noise_trials(rng: np.random.Generator, count: int, size: int) -> Trials:
    ratios = [sharpe_ratio_of(rng.normal(size=size)) for _ in range(count)]
    return Trials(count, float(np.var(ratios, ddof=1)))


def test_a_planted_pattern_is_promoted_and_noise_is_not() -> None:
    """Sharpe ratio .5 and 60 independent outcomes after 140, among 20 clusters tried."""
    rng = np.random.default_rng(7)
    promoted = {0.0: 0, 0.5: 0}
    for true_ratio in promoted:
        for _ in range(100):
            later = episodes(rng.normal(true_ratio, 1.0, 60), every_s=HOUR, lasts_s=HOUR)
            promoted[true_ratio] += later_evidence(later, noise_trials(rng, 20, 140)).holds
    assert promoted[0.5] >= 80
    assert promoted[0.0] <= 5


def test_one_rally_promotes_nothing() -> None:
    """Hourly memories of 30 days whose outcomes reach over a week: three or four outcomes."""
    rng = np.random.default_rng(8)
    for _ in range(100):
        path = np.cumsum(rng.normal(size=30 * 24 + 168))
        at = np.arange(30 * 24)
        found = episodes(path[at + 168] - path[at], every_s=HOUR, lasts_s=168 * HOUR)
        earlier, later = split_in_time(found)
        assert max(found[row].outcome_at for row in earlier) <= min(
            (found[row].timestamp for row in later), default=math.inf
        )
        cluster = [found[row] for row in later]
        evidence = later_evidence(cluster, noise_trials(rng, 7, 3))
        assert evidence.independent_n < MIN_INDEPENDENT
        assert not evidence.holds


def test_figures_equal_their_definitions() -> None:
    rng = np.random.default_rng(9)
    rewards = rng.normal(0.3, 1.0, 50)
    found = later_evidence(episodes(rewards, every_s=10.0, lasts_s=10.0), Trials(12, 0.04))
    ratio = rewards.mean() / rewards.std(ddof=1)
    z = NormalDist()
    by_luck = 0.2 * (
        (1 - 0.5772156649) * z.inv_cdf(1 - 1 / 12) + 0.5772156649 * z.inv_cdf(1 - 1 / (12 * math.e))
    )
    away = (rewards - rewards.mean()) / rewards.std()
    spread = 1 - (away**3).mean() * ratio + ((away**4).mean() - 1) / 4 * ratio**2
    expected = z.cdf((ratio - by_luck) * math.sqrt(49) / math.sqrt(spread))
    assert found.independent_n == 50
    assert found.sharpe_ratio == pytest.approx(ratio)
    assert found.t == pytest.approx(ratio * math.sqrt(50))
    assert found.deflated_sharpe_ratio == pytest.approx(expected, abs=1e-6)
    assert found.mean_low < rewards.mean()
    overlapping = episodes(rewards, every_s=10.0, lasts_s=25.0)
    assert len(independent_rewards(overlapping)) == 17
