import numpy as np
import pytest

from bench.latency import CURVE_PERCENTS, percentiles, summarise


def test_a_percentile_is_a_measured_value() -> None:
    hundred = np.arange(1, 101)
    assert list(percentiles(hundred, (1, 50, 95, 99, 100))) == [1, 50, 95, 99, 100]


def test_few_samples_have_no_invented_tail() -> None:
    assert list(percentiles([1.0, 2.0, 9.0], (50, 99))) == [2.0, 9.0]


def test_the_order_of_the_samples_does_not_matter() -> None:
    shuffled = np.random.default_rng(1).permutation(1000)
    summary = summarise(shuffled)
    assert (summary.count, summary.p50_ms, summary.p99_ms, summary.max_ms) == (1000, 499, 989, 999)
    assert summary.mean_ms == pytest.approx(499.5)
    assert len(summary.curve_ms) == len(CURVE_PERCENTS)
    assert summary.curve_ms[0] == 0
    assert summary.curve_ms[-1] == 999


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentiles([], (50,))
