"""The baseline: statistics of all memories that match the filter, similar or not."""

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.memory.estimates.magnitude import LARGEST, clamped, exponent_of, times_power

Floats = NDArray[np.float64]

FEW = 64
"""Up to this many new rewards are inserted one by one; beyond that, all are sorted again."""

TINY = 1e-250
ROUNDING = 1e-9
"""As a share of the squares: below this, their difference has lost too many digits."""


@dataclass(slots=True)
class Baseline:
    """Statistics of an action's known rewards. The names are those of the answer. Never modified.

    `stdev` is unbiased and None for a single reward; `q05` and `q95` invert the distribution.
    """

    value: float
    stdev: float | None
    loss_probability: float
    q05: float
    q95: float
    n: int


class MaturedRewards:
    """An action's rewards in the order in which they became known, and since when.

    `ends` (n,): when each became known, unix seconds, ascending; `rewards`: (n,). A walk forward
    inserts each reward once.
    """

    def __init__(self, ends: Floats, rewards: Floats) -> None:
        self._ends = ends
        self.rewards = rewards
        self._means: Floats | None = None
        self._moments: tuple[Floats, Floats] | None = None
        self._sorted: list[float] = []
        self._losses: tuple[float, NDArray[np.int64]] | None = None
        self._last: tuple[tuple[int, float, float], Baseline | None] | None = None

    def known(self, as_of: float | None) -> int:
        """Return how many were known at a moment; None means now."""
        if as_of is None:
            return len(self._ends)
        return int(np.searchsorted(self._ends, as_of, side="right"))

    def means(self, moments: Floats) -> tuple[NDArray[np.int64], Floats]:
        """Return how many were known at each moment, and their mean; 0 without any."""
        if self._means is None:
            self._means = np.concatenate([np.zeros(1), _running_means(self.rewards)])
        n = np.searchsorted(self._ends, moments, side="right")
        return n, self._means[n]

    def losses(self, moments: Floats, limit: float) -> NDArray[np.int64]:
        """Return how many of those known at each moment were below a limit."""
        if self._losses is None or self._losses[0] != limit:
            counts = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.rewards < limit)])
            self._losses = limit, counts
        found: NDArray[np.int64] = self._losses[1][
            np.searchsorted(self._ends, moments, side="right")
        ]
        return found

    def moments(self, n: int) -> tuple[float, float | None] | None:
        """Return mean and unbiased deviation of the first n. None if floats cannot hold them."""
        if self._moments is None:
            # Relative to the first one, so that what rewards have in common costs no digits.
            zero = np.zeros(1)
            with np.errstate(over="ignore", invalid="ignore"):
                away = self.rewards - self.rewards[0]
                sums, squares = np.cumsum(away), np.cumsum(away * away)
            self._moments = np.concatenate([zero, sums]), np.concatenate([zero, squares])
        first, squares_n = self._moments[0].item(n), self._moments[1].item(n)
        if not (TINY < squares_n < math.inf):
            return None
        spread = squares_n - first * first / n
        if spread <= ROUNDING * squares_n:
            return None
        stdev = math.sqrt(spread / (n - 1)) if n > 1 else None
        return self.rewards.item(0) + first / n, stdev

    def baseline(self, n: int, *, stop_loss: float, unit: float) -> Baseline | None:
        """Return the baseline of the first n; the last one is kept for the next question."""
        asked = n, stop_loss, unit
        if self._last is None or self._last[0] != asked:
            self._last = asked, _of_first(self, n, stop_loss=stop_loss, unit=unit)
        return self._last[1]

    def in_order(self, n: int) -> list[float]:
        """Return the first n rewards, ascending."""
        have = len(self._sorted)
        if 0 <= n - have <= FEW:
            for reward in self.rewards[have:n].tolist():
                insort(self._sorted, reward)
        else:
            self._sorted = np.sort(self.rewards[:n]).tolist()
        return self._sorted


def _running_means(rewards: Floats) -> Floats:
    """Return the mean of the first one, two, ... rewards.

    They are summed relative to the first one, so that the mean of equal rewards is exactly theirs.
    """
    if not len(rewards):
        return rewards
    exponent = exponent_of(rewards)
    small = times_power(rewards, -exponent)
    away = np.cumsum(small - small[0]) / np.arange(1, len(rewards) + 1)
    return times_power(small[0] + away, exponent)


def means_of(parts: Sequence[MaturedRewards], moments: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return how many rewards of all parts were known at each moment, and their mean (NaN: none).

    No sum of theirs has to fit a float.
    """
    if not parts:
        return np.zeros(len(moments), np.int64), np.full(len(moments), np.nan)
    counts, means = zip(*(part.means(moments) for part in parts), strict=True)
    n: NDArray[np.int64] = np.sum(counts, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        if len(parts) == 1:
            return n, np.where(n > 0, means[0], np.nan)
        shares = [count / n for count in counts]
    return n, np.sum([share * mean for share, mean in zip(shares, means, strict=True)], axis=0)


def baseline_of(
    parts: Sequence[MaturedRewards], as_of: float | None, *, stop_loss: float, unit: float = 1.0
) -> Baseline | None:
    """Return the baseline of several agents at a moment, in units of `unit`. None if unknown."""
    known = [(part, part.known(as_of)) for part in parts]
    known = [(part, n) for part, n in known if n]
    if not known:
        return None
    if len(known) > 1:
        rewards = np.concatenate([part.rewards[:n] for part, n in known])
        return of_rewards(rewards, stop_loss=stop_loss, unit=unit)
    ((part, n),) = known
    return part.baseline(n, stop_loss=stop_loss, unit=unit)


def _of_first(part: MaturedRewards, n: int, *, stop_loss: float, unit: float) -> Baseline | None:
    moments = part.moments(n)
    if moments is None:
        return of_rewards(part.rewards[:n], stop_loss=stop_loss, unit=unit)
    ordered = part.in_order(n)
    mean, stdev = moments
    return Baseline(
        value=clamped(min(max(mean, ordered[0]), ordered[-1]) * unit),
        stdev=None if stdev is None else clamped(stdev * unit),
        loss_probability=bisect_left(ordered, -stop_loss / unit) / n,
        q05=clamped(_at(ordered, 0.05) * unit),
        q95=clamped(_at(ordered, 0.95) * unit),
        n=n,
    )


def of_rewards(rewards: Floats, *, stop_loss: float, unit: float = 1.0) -> Baseline | None:
    """Return the baseline of these rewards (n,), in units of `unit`. None without rewards."""
    n = len(rewards)
    if not n:
        return None
    ranks = sorted({_rank(0.05, n), _rank(0.95, n), 0, n - 1})
    ordered = np.partition(rewards, ranks)
    ends = float(ordered[_rank(0.05, n)]), float(ordered[_rank(0.95, n)])
    losses = int(np.count_nonzero(rewards < -stop_loss / unit))
    return _baseline(rewards, losses, ends, (float(ordered[0]), float(ordered[-1])), unit)


def _baseline(
    rewards: Floats,
    losses: int,
    ends: tuple[float, float],
    limits: tuple[float, float],
    unit: float,
) -> Baseline:
    n, (least, largest) = len(rewards), limits
    exponent = exponent_of(np.array(limits))
    rewards = times_power(rewards, -exponent)
    mean = float(rewards.mean())
    stdev = None if n == 1 or least == largest else float(rewards.std(ddof=1))
    if stdev is None and n > 1:
        stdev = 0.0
    value = min(max(_scaled(mean, exponent, 1.0), least), largest)
    return Baseline(
        value=_scaled(value, 0, unit),
        stdev=None if stdev is None else _scaled(stdev, exponent, unit),
        loss_probability=losses / n,
        q05=_scaled(ends[0], 0, unit),
        q95=_scaled(ends[1], 0, unit),
        n=n,
    )


def _scaled(value: float, exponent: int, unit: float) -> float:
    """Return value * 2^exponent * unit, at most the largest float."""
    try:
        return clamped(math.ldexp(value, exponent) * unit)
    except OverflowError:
        return math.copysign(LARGEST, value)


def _rank(share: float, n: int) -> int:
    """Return the rank of the smallest value whose cumulative share reaches this one."""
    return max(0, math.ceil(share * n - 1e-9) - 1)


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[_rank(share, len(ordered))]
