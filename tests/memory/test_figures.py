"""Every figure is finite, in its range, and what exact arithmetic gives for the same numbers."""

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.memory.consolidation.pattern import RESIDUE, statistics_of
from app.memory.estimates.action_values import ActionValue, Neighbour, estimate_actions
from app.memory.estimates.kernel import Kernel
from app.storage.samples import Episode

KERNELS = [
    Kernel(name, delta=delta, bandwidth=bandwidth)  # type: ignore[arg-type]
    for name, delta, bandwidth in (
        ("inverse", 1e-3, 1.0),
        ("inverse", 1e-9, 1.0),
        ("inverse", 1e3, 1.0),
        ("rbf", 1e-3, 1e-3),
        ("rbf", 1e-3, 1e3),
    )
]

LARGEST = 1.7976931348623157e308
rewards = st.lists(
    st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([LARGEST, -LARGEST, 1e155, 0.01, 0.1 + 0.2, 1e9, 1e9 + 1e-6, 5e-324, -0.0]),
    min_size=1,
    max_size=20,
)


def _root(square: Fraction) -> float:
    """Return the square root of a fraction that may be too large or too small for a float."""
    if square == 0:
        return 0.0
    shift = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    return math.ldexp(math.sqrt(square / Fraction(4) ** shift), shift)


def check_equals_fractions(
    found: ActionValue, own: list[float], weights: list[float], stop_loss: float
) -> None:
    exact = [Fraction(reward) for reward in own]
    share = [Fraction(weight) / sum(map(Fraction, weights)) for weight in weights]
    mean = sum((p * r for p, r in zip(share, exact, strict=True)), Fraction(0))
    spread = sum((p * (r - mean) ** 2 for p, r in zip(share, exact, strict=True)), Fraction(0))
    rest = 1 - sum((p * p for p in share), Fraction(0))
    # Of sums that cancel no more can be known than the digits of what was summed.
    residue = 1e-15 * max(map(abs, own))
    assert found.value == pytest.approx(float(mean), rel=1e-12, abs=residue)
    if rest < Fraction(1, 10**150):
        assert found.stdev is None or spread == 0 or rest > Fraction(1, 10**250)
    else:
        assert found.stdev is not None
        is_held = spread / rest < Fraction(LARGEST) ** 2
        exact_stdev = _root(spread / rest) if is_held else LARGEST
        assert found.stdev == pytest.approx(exact_stdev, rel=1e-6, abs=10 * residue)
    wins = float(sum((p for p, r in zip(share, own, strict=True) if r > 0), Fraction(0)))
    losses = float(sum((p for p, r in zip(share, own, strict=True) if r < -stop_loss), Fraction(0)))
    assert found.win_rate == pytest.approx(wins, rel=1e-12)
    assert found.loss_probability == pytest.approx(losses, rel=1e-12)
    effective = 1 / float(sum((p * p for p in share), Fraction(0)))
    assert found.effective_n == pytest.approx(effective, rel=1e-12)


@given(own=rewards, seed=st.integers(0, 1000), kernel=st.sampled_from(KERNELS))
@example(own=[0.01] * 10, seed=0, kernel=KERNELS[0])
@example(own=[1e155, -1e155], seed=0, kernel=KERNELS[0])
@example(own=[LARGEST, -LARGEST], seed=1, kernel=KERNELS[4])
@example(own=[1e9 + 1e-6, 1e9], seed=1, kernel=KERNELS[0])
@example(own=[1e-170, 3e-170], seed=1, kernel=KERNELS[0])
@example(own=[1.0, 1.0, 1e90, 4.7e-286], seed=1, kernel=Kernel("rbf", 0.001, 0.001))
def test_an_estimate_equals_exact_arithmetic(own: list[float], seed: int, kernel: Kernel) -> None:
    distances = [(seed * 7919 + i * 104729) % 2000 / 1000 for i in range(len(own))]
    found = [Neighbour("buy", r, d) for r, d in zip(own, distances, strict=True)]
    (estimate,) = estimate_actions(found, kernel, stop_loss=0.02)
    check_equals_fractions(estimate, own, kernel.weights(distances), 0.02)
    least, largest = min(own), max(own)
    for name in ("value", "q05", "q50", "q95"):
        assert least <= getattr(estimate, name) <= largest
    if len(own) == 1:
        assert (estimate.stdev, estimate.standard_error, estimate.value_low) == (None, None, None)
    if estimate.stdev is not None:
        assert 0 <= estimate.stdev <= largest / 1.414 - least / 1.414
        assert estimate.standard_error is not None
        assert math.isfinite(estimate.standard_error)
    if estimate.value_low is not None:
        assert estimate.value_high is not None
        assert -LARGEST <= estimate.value_low <= estimate.value <= estimate.value_high <= LARGEST
    assert 1 <= estimate.independent_n <= len(own)
    assert 0 <= estimate.win_rate <= 1
    assert 0 <= estimate.loss_probability <= 1
    assert 1 <= estimate.effective_n <= len(own)
    if least == largest:
        assert estimate.value == least
        assert estimate.stdev in {None, 0.0}


@pytest.mark.parametrize("count", [3, 7, 49, 1000])
def test_what_always_won_won_with_certainty(count: int) -> None:
    found = [Neighbour("buy", 1.0 + i, i * 0.001) for i in range(count)]
    (estimate,) = estimate_actions(found, KERNELS[0], stop_loss=0.0)
    assert (estimate.win_rate, estimate.loss_probability) == (1.0, 0.0)


@pytest.mark.parametrize("count", [20, 40, 100])
def test_a_share_that_is_reached_exactly_is_reached(count: int) -> None:
    found = [Neighbour("buy", float(i), 0.1) for i in range(1, count + 1)]
    (estimate,) = estimate_actions(found, KERNELS[0], stop_loss=0.0)
    assert estimate.q05 == count * 0.05
    assert estimate.q50 == count * 0.5
    assert estimate.q95 == pytest.approx(count * 0.95)


def episodes(own: list[float]) -> list[Episode]:
    return [Episode("a", str(i), "bull", "buy", r, 0.0, b"") for i, r in enumerate(own)]


@given(own=rewards)
@example(own=[0.01] * 100)
@example(own=[0.1 + 0.2, 0.3] * 10)
@example(own=[1e9 + 1e-3, 1e9] * 5)
@example(own=[1e-170, 3e-170])
@example(own=[1e308] * 12)
@example(own=[0.0, 1.7976931348623157e308, -1.7976931348623157e308])
@example(own=[1.0, 1.7976931348623157e308, -1.7976931348623157e308])
@example(own=[-2e-323, -1.5e-323])
def test_the_statistics_of_a_pattern_equal_exact_arithmetic(own: list[float]) -> None:
    exact = [Fraction(reward) for reward in own]
    mean = sum(exact, Fraction(0)) / len(own)
    squares = sum(((r - mean) ** 2 for r in exact), Fraction(0))
    variance = squares / (len(own) - 1) if len(own) > 1 else Fraction(0)
    # Half a last digit above the largest float, a deviation is rounded to infinity.
    too_large = Fraction(LARGEST) + Fraction(math.ulp(LARGEST)) / 2
    if variance >= too_large * too_large:
        with pytest.raises(ValueError, match="too large"):
            statistics_of(episodes(own))
        return
    found = statistics_of(episodes(own))
    size = max(map(abs, own))
    # Two roundings of a value halfway between two of the smallest floats may be one apart.
    residue = max(1e-14 * size, math.ulp(0.0))
    assert found.mean_reward == pytest.approx(float(mean), rel=1e-11, abs=residue)
    assert found.stdev_reward == pytest.approx(_root(variance), rel=1e-6, abs=residue)
    assert found.win_rate == pytest.approx(sum(r > 0 for r in own) / len(own), rel=1e-11)
    if max(exact) - min(exact) <= Fraction(RESIDUE) * Fraction(size):
        assert (found.stdev_reward, found.sharpe_ratio) == (0.0, 0.0)
    elif size > 1e-290:
        scale = Fraction(2) ** math.frexp(size)[1]
        exact_ratio = float(mean / scale) / _root(variance / scale**2)
        assert found.sharpe_ratio == pytest.approx(exact_ratio, rel=1e-3, abs=1e-9)
    for value in found.model_dump().values():
        assert math.isfinite(value)
    ordered = sorted(exact)
    for share, told in ((Fraction(1, 20), found.q05_reward), (Fraction(19, 20), found.q95_reward)):
        place = share * (len(own) - 1)
        low, high = ordered[int(place)], ordered[min(int(place) + 1, len(own) - 1)]
        quantile = float(low + (high - low) * (place - int(place)))
        assert told == pytest.approx(quantile, rel=1e-11, abs=residue)
