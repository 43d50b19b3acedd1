"""What is learned where the truth is known. `make try-distance` asks 100 markets."""

import numpy as np
import pytest

from app.evaluate.distances.fit import Lived, below_false_share, fit
from tests.evaluate.distances.planted_distance import (
    even,
    is_promoted,
    learned,
    market,
    rank_correlation,
    scaled,
)

SMALL = {"products": 4, "days": 1000, "dimension": 64}


def test_values_are_nearer_to_the_truth() -> None:
    of = market(3, snr=0.5, **SMALL)
    plain, weighted = rank_correlation(of, None), rank_correlation(of, scaled(learned(of)))
    assert weighted > 0.65 > plain


def test_the_size_of_a_number_may_matter_and_not_its_sign() -> None:
    of = even(market(4, snr=0.5, **SMALL), 0.5)
    fitted = learned(of)
    assert np.abs(fitted.squared).max() > np.abs(fitted.linear).max()
    assert rank_correlation(of, scaled(fitted)) > rank_correlation(of, None) + 0.2


def test_without_a_signal_nothing_is_promoted() -> None:
    of = [market(seed, snr=0.0, products=3, days=600, dimension=32) for seed in range(15)]
    assert sum(map(is_promoted, of)) <= 3


def test_a_constant_number_and_one_in_other_units() -> None:
    of = market(5, snr=0.8, products=2, days=800, dimension=16)
    rows = np.arange(0, 800, 5)
    ends = of.day[rows] + 5.0
    lived = Lived(of.states[rows], of.reward[rows], of.day[rows], ends)
    changed = lived.states.copy()
    changed[:, 3] *= 1000.0
    changed[:, 12] = 7.0
    one, other = fit(lived), fit(Lived(changed, lived.reward, lived.start, ends))
    assert one.weights is not None
    assert other.weights is not None
    assert other.weights[12] == 0.0
    assert other.weights.sum() == pytest.approx(1.0)
    assert other.weights[3] == pytest.approx(one.weights[3], rel=0.3)


def test_the_share_of_false_findings() -> None:
    """Benjamini and Hochberg's own rule, at a share of .1."""
    chance = np.array([0.009, 0.5, 0.011, 0.9, 0.05])
    assert below_false_share(chance).tolist() == [True, False, True, False, True]
    assert not below_false_share(np.array([0.3, 0.2, 0.11])).any()
