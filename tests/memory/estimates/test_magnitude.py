"""What an agent's past says of rewards that are very large, very small, or all the same."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.evaluate.distances.fit import Lived, fit
from app.evaluate.scores import Neighbours, Rules, forecasts
from app.evaluate.verdict import verdict
from app.memory.estimates.baseline import MaturedRewards, means_of
from app.memory.estimates.calibration import reliability_slope, skill
from app.memory.estimates.interval import correction
from app.memory.estimates.kernel import Kernel
from app.memory.estimates.magnitude import LARGEST, per_scale
from app.memory.estimates.shrinkage import best_m, drawn_in
from app.memory.projection import principal_components

Floats = NDArray[np.float64]

POWERS = [-1000, 0, 520, 1020]
"""Rewards times these powers of two have the same digits, so what is derived from them is alike."""


def rewards(seed: int, count: int = 60) -> Floats:
    return np.random.default_rng(seed).normal(size=count)


@pytest.mark.parametrize("power", POWERS)
def test_the_size_of_rewards_changes_no_judgement(power: int) -> None:
    own, base, came = (np.ldexp(rewards(seed), power) for seed in (1, 2, 3))
    n = np.full(60, 9.0)
    assert best_m(own, base, n, came) == best_m(rewards(1), rewards(2), n, rewards(3))
    assert skill(own, base, came) == pytest.approx(skill(rewards(1), rewards(2), rewards(3)))
    spread = np.ldexp(np.abs(rewards(4)) + 0.1, power)
    found = correction(own - spread, own + spread, spread, came)
    small = np.ldexp(spread, -power)
    expected = correction(rewards(1) - small, rewards(1) + small, small, rewards(3))
    assert found == expected
    n_known, mean = means_of([MaturedRewards(np.arange(60.0), own)], np.array([59.0]))
    assert n_known.item() == 60
    assert mean.item() == pytest.approx(np.ldexp(rewards(1).mean(), power))


def test_opposite_largest_rewards_have_a_mean() -> None:
    parts = [MaturedRewards(np.arange(40.0), np.full(40, sign * LARGEST)) for sign in (1.0, -1.0)]
    n, mean = means_of(parts, np.array([-1.0, 39.0]))
    assert n.tolist() == [0, 80]
    assert np.isnan(mean[0])
    assert mean[1] == 0.0
    n, mean = means_of([], np.array([1.0, 2.0]))
    assert n.tolist() == [0, 0]
    assert np.isnan(mean).all()
    assert drawn_in(LARGEST, -LARGEST, 1.0, 1.0) == 0.0
    assert drawn_in(LARGEST, -LARGEST, 1.0, np.inf) == -LARGEST
    assert per_scale(np.array([1e300, 1.0]), np.array([1e-300, np.nan])).tolist() == [LARGEST, 1.0]


def test_equal_rewards_leave_no_residue() -> None:
    same = np.full(90, 0.1)
    _, means = means_of([MaturedRewards(np.arange(90.0), same)], np.arange(90.0))
    assert set(means.tolist()) == {0.1}
    assert drawn_in(0.1, 0.1, 7.0, 30.0) == 0.1
    assert np.isnan(skill(same, same + 1e-17, same))
    assert np.isnan(reliability_slope(np.full(90, 0.3), np.sign(rewards(1, 90))))
    near = Neighbours(np.tile(np.arange(5), (90, 1)), rewards(2, 450).reshape(90, 5) ** 2 + 0.01)
    told = forecasts(near, same, Rules(stop_loss=0.0, cost=0.0))
    assert set(told.value.tolist()) == {0.1}
    points = np.tile(same, (4, 1))
    found = verdict(
        points,
        points + 1e-17,
        np.full((4, 19), 0.1),
        mean_block=2.0,
        decides="profit",
    )
    assert {(one.effect, one.low, one.high) for one in found.findings} == {(0.0, 0.0, 0.0)}
    states = np.random.default_rng(1).normal(size=(200, 4)).astype(np.float32)
    lived = Lived(states, np.full(200, 0.1), np.arange(200.0), np.arange(200.0) + 1.0)
    assert (fit(lived).weights, fit(lived).explained) == (None, 0.0)
    assert Kernel("rbf", delta=1.0, bandwidth=0.1).weights([]) == []


def test_a_number_of_two_values_has_no_square() -> None:
    rng = np.random.default_rng(2)
    states = rng.normal(size=(400, 4)).astype(np.float32)
    states[:, 2] = np.where(np.arange(400) % 2, 0.3, 0.7)
    reward = 3.0 * states[:, 2] + 0.1 * rng.normal(size=400)
    found = fit(Lived(states, reward * 2.0**900, np.arange(400.0), np.arange(400.0) + 1.0))
    assert found.squared[2] == 0.0
    assert found.linear[2] == pytest.approx(0.6 * 2.0**900, rel=0.1)
    assert found.weights is not None
    assert found.weights[2] > 0.9


def test_states_of_one_direction_differ_along_no_axis() -> None:
    state = np.array([0.1, 0.2, 0.3, 0.7], np.float32)
    found = principal_components(np.outer(np.arange(1.0, 50.0), state).astype(np.float32))
    assert found.explained == (0.0, 0.0)
    line = np.array([[1.0, i % 2, 0.0, 0.0] for i in range(41)], np.float32)
    first, second = principal_components(line).explained
    assert first == pytest.approx(1.0)
    assert second == pytest.approx(0.0, abs=1e-6)
    assert first + second <= 1.0
