"""Weighs memories by their distance, and counts how many equal ones some weights amount to."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

KernelName = Literal["inverse", "rbf"]


class Kernel(NamedTuple):
    """A memory's weight by its cosine distance d: 1/(d + delta), or exp(-d/bandwidth^2)."""

    name: KernelName
    delta: float
    bandwidth: float

    def weights(self, distances: Sequence[float]) -> list[float]:
        """Return the memories' weights, up to a common factor, which changes no statistic."""
        if self.name == "inverse":
            return [1.0 / (distance + self.delta) for distance in distances]
        if not distances:
            return []
        # The nearest one weighs 1: however narrow the kernel, they do not all vanish.
        nearest, square = min(distances), self.bandwidth**2
        return [math.exp((nearest - distance) / square) for distance in distances]


DEFAULT_KERNEL = Kernel("inverse", delta=1e-3, bandwidth=1.0)
"""The kernel of an estimate request that names none."""


def effective_n(weights: Sequence[float]) -> float:
    """Return how many memories of equal weight these amount to; 0 for none (Kish 1965)."""
    if not weights:
        return 0.0
    total, squares = math.fsum(weights), math.fsum([weight * weight for weight in weights])
    return min(max(total * total / squares, 1.0), float(len(weights)))
