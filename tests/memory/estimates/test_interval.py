"""Intervals hold what comes as often as they say, however few backcasts they come from."""

import numpy as np
import pytest

from app.memory.estimates.interval import LEVEL, MIN_BACKCASTS, correction

MARKETS = 6000


@pytest.mark.parametrize("n", [MIN_BACKCASTS, 24, 32, 56])
def test_few_backcasts_cover_neither_too_little_nor_too_much(n: int) -> None:
    rng = np.random.default_rng(n)
    held = 0
    for outcomes in rng.standard_normal((MARKETS, n + 1)):
        spread = rng.uniform(0.5, 2.0, n + 1)
        low, high = -0.7 * spread, 0.9 * spread
        came = outcomes * spread
        corrected = correction(low[:n], high[:n], spread[:n], came[:n])
        assert corrected is not None
        interval = corrected.interval(low.item(n), high.item(n), spread.item(n))
        assert interval is not None
        held += interval.low <= came[n] <= interval.high
    assert LEVEL - 0.02 <= held / MARKETS <= LEVEL + 0.02


def test_an_error_that_no_float_holds_is_taken_as_it_is() -> None:
    spread = np.array([0.0] * 2 + [1.0] * 18)
    found = correction(-spread, spread, spread, np.full(20, 3.0))
    assert found is not None
    assert (found.low, found.high) == (-4.0, np.inf)
