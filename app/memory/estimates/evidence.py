"""Selects memories that are independent evidence, and counts how many weighted ones amount to.

Two memories of one product whose outcome intervals overlap share part of the same prices: their
rewards are one piece of evidence, counted twice. An interval reaches from a memory's `timestamp` to
its `outcome_at`, in unix seconds.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CROSS_PRODUCT = 0.3
"""Correlation of two products' rewards over the same time: markets move together in part."""

FEW = 8
"""Memories for which plain Python is faster than numpy."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Distinct:
    """The candidates that are kept (positions, in order), and how many were examined."""

    kept: list[int]
    found: int

    @property
    def overlapping(self) -> int:
        """Return how many of the examined ones were left out."""
        return self.found - len(self.kept)


class Apart:
    """Intervals of products, no two of which overlap for the same product."""

    def __init__(self) -> None:
        self._taken: dict[object, tuple[list[float], list[float]]] = {}

    def add(self, product: object, interval: Interval) -> bool:
        """Add an interval, unless one of its product overlaps with it. Return whether it did."""
        start, end = interval
        taken = self._taken.get(product)
        if taken is None:
            self._taken[product] = [start], [end]
            return True
        starts, ends = taken
        # They are disjoint: of those that begin before this one's end, the last ends last.
        place = bisect_left(starts, end)
        if place and ends[place - 1] > start:
            return False
        starts.insert(place, start)
        ends.insert(place, end)
        return True


def first_distinct(
    products: Sequence[object], intervals: Sequence[Interval], count: int
) -> Distinct:
    """Return the first `count` candidates that overlap with no earlier one of their product.

    Candidates are in order, nearest first. Whether one is kept depends on those before it alone:
    more candidates never change the choice among the first.
    """
    apart = Apart()
    kept: list[int] = []
    found = 0
    for i, (product, interval) in enumerate(zip(products, intervals, strict=True)):
        if len(kept) == count:
            break
        found = i + 1
        if apart.add(product, interval):
            kept.append(i)
    return Distinct(kept, found)


def independent_n(
    weights: Sequence[float], products: Sequence[object], intervals: Sequence[Interval]
) -> float:
    """Return how many independent memories of equal weight say as much as these; 0 for none.

    W^2 / sum_ij w_i w_j rho_ij, the inverse variance of a weighted mean of correlated values. rho
    of two memories of one product is the time that their intervals share, as a part of the longer
    one; of two products, CROSS_PRODUCT times that. At least 1, at most their number.
    """
    if not weights:
        return 0.0
    if len(weights) <= FEW:
        return _independent_few(weights, products, intervals)
    w = np.asarray(weights, np.float64)
    w = w / w.max()  # squares stay far from the ends of floats
    shared = _shared_part(np.asarray(intervals, np.float64))
    names = {product: i for i, product in enumerate(dict.fromkeys(products))}
    if len(names) > 1:
        which = np.array([names[product] for product in products])
        shared = np.where(which[:, None] == which[None, :], shared, CROSS_PRODUCT * shared)
    shared.flat[:: len(w) + 1] = 1.0
    return float(min(max(w.sum() ** 2 / (w @ shared @ w), 1.0), len(w)))


def _independent_few(
    weights: Sequence[float], products: Sequence[object], intervals: Sequence[Interval]
) -> float:
    """Return the same in plain Python, whose loop takes less than numpy's calls for a few."""
    largest = max(weights)
    scaled = [weight / largest for weight in weights]
    of_pairs = 0.0
    before: list[tuple[float, float, float, object, float]] = []
    for weight, (start, end), product in zip(scaled, intervals, products, strict=True):
        of_others, length = 0.0, end - start
        for other_start, other_end, other_length, other_product, other_weight in before:
            # Conditions, because min and max are calls.
            common = (end if end < other_end else other_end) - (
                start if start > other_start else other_start
            )
            if common > 0.0:
                shared = common / (length if length > other_length else other_length)
                part = shared if other_product == product else CROSS_PRODUCT * shared
                of_others += other_weight * part
        of_pairs += weight * of_others
        before.append((start, end, length, product, weight))
    whole = sum(scaled) ** 2 / (sum([weight * weight for weight in scaled]) + 2.0 * of_pairs)
    return min(max(whole, 1.0), float(len(weights)))


def _shared_part(intervals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, n): the time that two intervals (n, 2) share, as a part of the longer one."""
    start, end = intervals.T
    length = end - start
    common = np.minimum(end[:, None], end[None, :]) - np.maximum(start[:, None], start[None, :])
    longer = np.maximum(length[:, None], length[None, :])
    # Nothing is shared where both are moments.
    part: NDArray[np.float64] = np.maximum(common, 0.0) / np.where(longer > 0, longer, 1.0)
    return part
