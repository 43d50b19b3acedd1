"""Which memories are evidence of their own, against the definition written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.memory.estimates.action_values import Neighbour, action_value
from app.memory.estimates.evidence import CROSS_PRODUCT, first_distinct, independent_n
from app.memory.estimates.kernel import Kernel
from tests.memory.estimates.planted import HORIZON, cosine_distances, product

spans = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 30), st.integers(0, 12)), max_size=40
)


@given(drawn=spans, count=st.integers(1, 20))
def test_keeps_what_overlaps_with_no_nearer_one(
    drawn: list[tuple[str, int, int]], count: int
) -> None:
    products = [name for name, _, _ in drawn]
    intervals = [(float(start), float(start + length)) for _, start, length in drawn]
    kept: list[int] = []
    found = 0
    for i, (start, end) in enumerate(intervals):
        if len(kept) == count:
            break
        found = i + 1
        if not any(
            products[j] == products[i] and start < intervals[j][1] and intervals[j][0] < end
            for j in kept
        ):
            kept.append(i)
    chosen = first_distinct(products, intervals, count)
    assert (chosen.kept, chosen.found) == (kept, found)
    assert chosen.overlapping == found - len(kept)


@given(drawn=spans.filter(bool), seed=st.integers(0, 1000))
def test_independent_n_equals_its_definition(drawn: list[tuple[str, int, int]], seed: int) -> None:
    products = [name for name, _, _ in drawn]
    intervals = [(float(start), float(start + length)) for _, start, length in drawn]
    w = np.random.default_rng(seed).uniform(0.1, 1000, len(drawn))
    total = 0.0
    for i, (s, e) in enumerate(intervals):
        for j, (t, f) in enumerate(intervals):
            longer = max(e - s, f - t)
            rho = max(0.0, min(e, f) - max(s, t)) / longer if longer else 0.0
            rho *= 1.0 if products[i] == products[j] else CROSS_PRODUCT
            total += w[i] * w[j] * (1.0 if i == j else rho)
    expected = min(max(w.sum() ** 2 / total, 1.0), len(w))
    assert independent_n(w.tolist(), products, intervals) == pytest.approx(expected, rel=1e-9)


def test_alone_together_and_the_same_twice() -> None:
    assert independent_n([], [], []) == 0
    assert independent_n([5.0], ["a"], [(0.0, 1.0)]) == 1
    twice = [(0.0, 5.0), (0.0, 5.0)]
    assert independent_n([1.0, 1.0], ["a", "a"], twice) == pytest.approx(1)
    assert independent_n([1.0, 1.0], ["a", "b"], twice) == pytest.approx(2 / 1.3)
    assert independent_n([1.0, 1.0], ["a", "a"], [(0.0, 5.0), (5.0, 10.0)]) == pytest.approx(2)


@pytest.mark.parametrize("rho", [0.9, 0.99])
def test_the_interval_of_a_mean_holds_as_often_as_it_says(rho: float) -> None:
    """In markets with and without a signal, against the neighbours' true mean. All 20 seeds:
    `make bench-estimates`."""
    held, traded = _coverage(seeds=range(4), questions=60, rho=rho, snr=0.0, is_distinct=True)
    assert 0.86 <= held <= 0.96
    assert 0.24 <= traded <= 0.40
    naive, naive_traded = _coverage(
        seeds=range(4), questions=60, rho=rho, snr=0.0, is_distinct=False
    )
    assert naive < 0.8 < held
    assert naive_traded > traded + 0.1


def _coverage(
    *, seeds: range, questions: int, rho: float, snr: float, is_distinct: bool
) -> tuple[float, float]:
    """Return how often the 90 % interval holds the true mean, and how often |value| > its error.

    Not distinct: what `stdev / sqrt(effective_n)` of overlapping memories says, as it did before.
    """
    kernel = Kernel("inverse", 1e-3, 1.0)
    held, traded = [], []
    for seed in seeds:
        market = product(seed, days=2000, dimension=64, rho=rho, snr=snr)
        rng = np.random.default_rng(seed)
        for day in rng.integers(1200, 2000, questions):
            known = int(day) - HORIZON
            distances = cosine_distances(market.states[:known], market.states[day])
            nearest = np.argsort(distances)
            intervals = [(float(i), float(i + HORIZON)) for i in nearest]
            chosen = first_distinct(["p"] * known, intervals, 50).kept
            rows = nearest[chosen] if is_distinct else nearest[:50]
            found = [
                Neighbour("buy", float(market.reward[i]), float(distances[i]), "p", (i, i + 5.0))
                for i in rows
            ]
            value = action_value("buy", found, kernel, 0.0)
            weights = np.array(kernel.weights([n.distance for n in found]))
            truth = np.average(market.true_mean[rows], weights=weights)
            assert value.value_low is not None
            assert value.value_high is not None
            assert value.standard_error is not None
            assert value.stdev is not None
            if is_distinct:
                held.append(value.value_low <= truth <= value.value_high)
                traded.append(abs(value.value) > value.standard_error)
            else:
                error = value.stdev / np.sqrt(value.effective_n)
                held.append(abs(value.value - truth) <= 1.6766 * error)
                traded.append(abs(value.value) > error)
    return float(np.mean(held)), float(np.mean(traded))
