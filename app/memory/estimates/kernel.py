"""How much a memory weighs by its distance, and how many equal memories some weights amount to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

KernelName = Literal["inverse", "rbf"]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A memory's weight by its cosine distance d: 1/(d + delta), or exp(-d/bandwidth^2)."""

    name: KernelName
    delta: float
    bandwidth: float

    def weights(self, distances: Sequence[float]) -> list[float]:
        """Weights of these memories, up to a common factor, which no statistic depends on."""
        if self.name == "inverse":
            return [1.0 / (distance + self.delta) for distance in distances]
        # The nearest one weighs 1: however narrow the kernel, they do not all vanish.
        nearest, square = min(distances), self.bandwidth**2
        return [math.exp((nearest - distance) / square) for distance in distances]


DEFAULT_KERNEL = Kernel("inverse", delta=1e-3, bandwidth=1.0)
"""That of a request for an estimate which names none."""


def effective_n(weights: Sequence[float]) -> float:
    """Return as how many memories that weigh the same these count; 0 for none (Kish 1965)."""
    if not weights:
        return 0.0
    total, squares = math.fsum(weights), math.fsum([weight * weight for weight in weights])
    return min(max(total * total / squares, 1.0), float(len(weights)))
