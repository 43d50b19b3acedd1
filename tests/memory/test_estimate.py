"""Weighted statistics against plain numpy."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.memory.estimates.action_values import Neighbour, confidence, estimate_actions
from app.memory.estimates.kernel import Kernel, effective_n

TOLERANCE = 1e-6

neighbours = st.lists(
    st.builds(
        Neighbour,
        action=st.sampled_from(["buy", "sell", None]),
        reward=st.floats(-100, 100) | st.sampled_from([0.0, -0.02, 0.02]),
        distance=st.floats(0, 2) | st.just(0.0),
    ),
    max_size=60,
)
kernels = st.builds(
    Kernel,
    name=st.sampled_from(["inverse", "rbf"]),
    delta=st.sampled_from([1e-3, 0.1]),
    bandwidth=st.sampled_from([1e-3, 0.3, 1.0]),
)


def weights_of(kernel: Kernel, distances: Any) -> Any:
    if kernel.name == "inverse":
        return 1 / (distances + kernel.delta)
    return np.exp(-(distances - distances.min()) / kernel.bandwidth**2)


@given(found=neighbours, kernel=kernels, stop_loss=st.sampled_from([0.0, 0.02, 5.0]))
def test_estimates_equal_numpy(found: list[Neighbour], kernel: Kernel, stop_loss: float) -> None:
    estimates = estimate_actions(found, kernel, stop_loss=stop_loss, rank_by="value")
    assert {e.action for e in estimates} == {n.action for n in found}
    assert [e.value for e in estimates] == sorted((e.value for e in estimates), reverse=True)
    for estimate in estimates:
        own = [n for n in found if n.action == estimate.action]
        rewards = np.array([n.reward for n in own])
        distances = np.array([n.distance for n in own])
        weights = weights_of(kernel, distances)
        share = weights / weights.sum()
        value = np.average(rewards, weights=weights)
        assert estimate.count == len(own)
        assert estimate.nearest_distance == distances.min()
        assert estimate.value == pytest.approx(value, abs=TOLERANCE)
        variance = np.average((rewards - value) ** 2, weights=weights)
        unbiased = 1 - (share**2).sum()
        if len(own) == 1:
            assert estimate.stdev is None
        elif unbiased > 1e-6:
            assert estimate.stdev == pytest.approx(math.sqrt(variance / unbiased), abs=TOLERANCE)
        assert estimate.win_rate == pytest.approx(share[rewards > 0].sum(), abs=TOLERANCE)
        assert estimate.loss_probability == pytest.approx(
            share[rewards < -stop_loss].sum(), abs=TOLERANCE
        )
        assert estimate.effective_n == pytest.approx(1 / (share**2).sum(), rel=TOLERANCE)
        for quantile, name in ((0.05, "q05"), (0.5, "q50"), (0.95, "q95")):
            # A hair to either side: which of two rewards it is may hang on the last bit of a sum.
            low, high = (
                np.quantile(rewards, q, weights=weights, method="inverted_cdf")
                for q in (quantile - 1e-12, min(1, quantile + 1e-12))
            )
            assert low - TOLERANCE <= getattr(estimate, name) <= high + TOLERANCE


def test_confidence_grows_with_support_and_falls_with_novelty() -> None:
    kernel = Kernel("inverse", delta=1e-3, bandwidth=1.0)
    few, many = (effective_n(kernel.weights([0.1] * count)) for count in (2, 30))
    assert confidence(effective_n([]), novelty=0.0) == 0
    assert confidence(few, novelty=0.0) == pytest.approx(2 / 12)
    assert confidence(many, novelty=0.0) == pytest.approx(30 / 40)
    assert confidence(many, novelty=0.5) == pytest.approx(15 / 40)
    assert confidence(many, novelty=1.0) == 0
