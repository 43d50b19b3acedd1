"""Each score, beside another one's way to it: scipy, and numpy written from the definition."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from app.evaluate.placebos import rotations, series
from app.evaluate.scores import Neighbours, Rules, forecasts, points
from app.evaluate.verdict import call, holm, verdict

RULES = Rules(stop_loss=0.3, cost=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_their_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rewards = np.round(rng.standard_normal(80), 1)  # with ties
    rows = rng.integers(0, 80, (60, 12))
    weights = rng.uniform(0.5, 2.0, (60, 12))
    weights[:, 9:] *= rng.random((60, 3)) < 0.5  # some questions have fewer neighbours
    came = np.round(rng.standard_normal(60), 1)
    told = forecasts(Neighbours(rows, weights), rewards, RULES)
    brier, interval, profit = [], [], []
    for i in range(60):
        there = weights[i] > 0
        r, w = rewards[rows[i]][there], weights[i][there]
        assert told.value[i] == pytest.approx(np.average(r, weights=w))
        chance = np.average(r < -0.3, weights=w)
        low, high = np.quantile(r, [0.05, 0.95], weights=w, method="inverted_cdf")
        assert (told.low[i], told.high[i]) == (low, high)
        brier.append((chance - (came[i] < -0.3)) ** 2)
        width = high - low
        interval.append(
            width
            + 20 * (low - came[i]) * (came[i] < low)
            + 20 * (came[i] - high) * (came[i] > high)
        )
        profit.append(came[i] - 0.05 if told.value[i] > 0.05 else 0.0)
    found = points(told, came, RULES).mean(1)
    expected = [
        spearmanr(told.value, came).statistic,
        -np.mean(brier),
        -np.mean(interval),
        np.mean(profit),
    ]
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_same_value_for_all_has_no_correlation() -> None:
    rows, weights = np.zeros((9, 3), np.int64), np.ones((9, 3))
    told = forecasts(Neighbours(rows, weights), np.ones(1), RULES)
    assert points(told, np.arange(9.0), RULES)[0].tolist() == [0.0] * 9


def test_rotations_move_each_series_by_itself() -> None:
    start = np.array([3.0, 1.0, 2.0, 0.0, 5.0, 4.0] * 10)
    start += np.repeat(np.arange(10) * 6.0, 6)
    product = np.tile([0, 0, 1, 1, 0, 1], 10)
    action, agent = np.repeat([0, 1], 30), np.repeat([0, 1, 0], 20)
    parts = series(start, product, action, agent)
    assert sorted(np.concatenate(parts).tolist()) == list(range(60))
    rewards = np.random.default_rng(1).standard_normal(60)
    drawn = list(rotations(rewards, parts, count=20, seed=1))
    for placebo in drawn:
        for rows in parts:
            assert (np.diff(start[rows]) > 0).all()
            assert len({(product[row], action[row], agent[row]) for row in rows}) == 1
            own, moved = rewards[rows], placebo[rows]
            (shift,) = [s for s in range(len(rows)) if (np.roll(own, s) == moved).all()]
            assert 1 <= shift <= 0.9 * len(rows) + 1
    again = list(rotations(rewards, parts, count=20, seed=1))
    assert all((a == b).all() for a, b in zip(drawn, again, strict=True))


def test_p_values_and_their_correction() -> None:
    own = np.tile(np.array([[1.0], [-1.0], [0.0], [0.5]]), 40)
    means = np.tile(np.arange(-49, 50) / 98, (4, 1))
    found = verdict(own, np.zeros((4, 40)), means, mean_block=2.0, decides="rank_correlation")
    assert found.verdict == "helps"
    assert [f.p_helps for f in found.findings] == [0.01, 1.0, 0.51, 0.02]
    assert [f.p_harms for f in found.findings] == [1.0, 0.01, 0.51, 1.0]
    assert [f.holm_helps for f in found.findings] == pytest.approx([0.04, 1.0, 1.0, 0.06])
    first = found.findings[0]
    assert (first.low, first.effect, first.high) == pytest.approx((1.0, 1.0, 1.0))
    assert found.findings[0].detectable == pytest.approx(2.487 * means[0].std(ddof=1))
    harms = verdict(own, np.zeros((4, 40)), means, mean_block=2.0, decides="brier")
    assert harms.verdict == "harms"
    assert call(0.06, 0.95) == "unproven"


def test_holm_is_that_of_the_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
