"""Decisions whose uplift is known: how often an interval, looked at after each outcome, misses it.

`make try-uplift` runs it in full.
"""

import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from app.decisions.ledger import FEWEST_BEFORE
from app.uplift.confidence import FEWEST_TOLD, LEVEL, NARROWEST_AT, uplift_interval

Floats = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int, int], Floats]


def folded(
    arms: NDArray[np.int64], rewards: Floats, other: int, chance: float, fewest: int
) -> tuple[int, float, float]:
    """Return how many differences there are, their sum and their sum of squares, one by one.

    `chance`: of the memory among both arms.
    """
    count, sums = [0, 0], [0.0, 0.0]
    n, total, squares = 0, 0.0, 0.0
    for arm, reward in zip(arms.tolist(), rewards.tolist(), strict=True):
        if arm not in {0, other}:
            continue
        is_other = int(arm != 0)
        if min(count) >= fewest:
            means = [sums[0] / count[0], sums[1] / count[1]]
            left = reward - means[is_other]
            difference = means[0] - means[1]
            difference += -left / (1 - chance) if is_other else left / chance
            n, total, squares = n + 1, total + difference, squares + difference**2
        count[is_other] += 1
        sums[is_other] += reward
    return n, total, squares


def normal(rng: np.random.Generator, seeds: int, length: int) -> Floats:
    return rng.normal(size=(seeds, length))


def heavy(rng: np.random.Generator, seeds: int, length: int) -> Floats:
    """Student's t with three degrees of freedom."""
    return np.asarray(rng.standard_t(3, size=(seeds, length)) / np.sqrt(3.0))


def skewed(rng: np.random.Generator, seeds: int, length: int) -> Floats:
    return rng.exponential(size=(seeds, length)) - 1.0


def overlapping(rng: np.random.Generator, seeds: int, length: int) -> Floats:
    """Rewards of decisions that share most of their days with the next ones."""
    moves = rng.normal(size=(seeds, length + 9)) / np.sqrt(10.0)
    sums = np.cumsum(np.pad(moves, ((0, 0), (1, 0))), axis=1)
    return np.asarray(sums[:, 10:] - sums[:, :-10])


NOISES: dict[str, Noise] = {
    "normal": normal,
    "heavy": heavy,
    "skewed": skewed,
    "overlapping": overlapping,
}


def ever_missed(
    noise: Noise, *, chance: float, uplift: float, seeds: int, length: int, seed: int
) -> tuple[float, float]:
    """Return the share of planted streams whose interval ever misses the uplift, and the share of
    those that ever exclude 0, looking after each outcome."""
    rng = np.random.default_rng(seed)
    with_memory = rng.random((seeds, length)) < chance
    rewards = 3.0 + noise(rng, seeds, length) + uplift * with_memory
    count, sums = np.zeros((2, seeds)), np.zeros((2, seeds))
    n, total, squares = np.zeros(seeds), np.zeros(seeds), np.zeros(seeds)
    missed, found = np.zeros(seeds, bool), np.zeros(seeds, bool)
    half_of = _half_widths(length)
    for at in range(length):
        own, reward = with_memory[:, at], rewards[:, at]
        is_compared = count.min(0) >= FEWEST_BEFORE
        means = sums / np.maximum(count, 1.0)
        difference = means[0] - means[1]
        difference += np.where(
            own, (reward - means[0]) / chance, -(reward - means[1]) / (1.0 - chance)
        )
        n += is_compared
        total += np.where(is_compared, difference, 0.0)
        squares += np.where(is_compared, difference**2, 0.0)
        count += [own, ~own]
        sums += np.where([own, ~own], reward, 0.0)
        is_told = (count.min(0) >= FEWEST_TOLD) & (n > 0)
        mean = total / np.maximum(n, 1.0)
        spread = np.sqrt(np.maximum(squares / np.maximum(n, 1.0) - mean**2, 0.0))
        half = spread * half_of[n.astype(int)]
        missed |= is_told & (np.abs(mean - uplift) > half)
        found |= is_told & (np.abs(mean) > half)
    return float(missed.mean()), float(found.mean())


def _half_widths(length: int) -> Floats:
    """Return half the interval's width for n differences of variance 1, by the code that the
    service uses."""
    widths = [uplift_interval(n, 0.0, float(n)).high for n in range(1, length + 1)]
    return np.array([0.0, *widths])


def main() -> int:
    """Print and check the coverage at every time, in each kind of stream."""
    seeds = int(sys.argv[1])
    wrong = 0
    sys.stdout.write(f"narrowest at {NARROWEST_AT}, from {FEWEST_TOLD} of each arm on\n")
    for name, noise in NOISES.items():
        for chance in (0.5, 0.8, 0.9):
            known = {"chance": chance, "seeds": seeds, "length": 4000}
            missed, _ = ever_missed(noise, uplift=0.0, seed=1, **known)  # type: ignore[arg-type]
            also, found = ever_missed(noise, uplift=0.3, seed=2, **known)  # type: ignore[arg-type]
            sys.stdout.write(
                f"{name:12} {chance:.0%} with the memory: ever missed {missed:.1%} of {seeds} "
                f"without an uplift, {also:.1%} with one of .3, of which {found:.1%} were found\n"
            )
            sys.stdout.flush()
            wrong += max(missed, also) > 1.0 - LEVEL + 0.02
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
