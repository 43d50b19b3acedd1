"""What came of each action in similar moments: kernel-weighted statistics.

Neural Episodic Control takes the weighted mean of the neighbours' rewards for an action's value;
here comes with it how far that can be trusted. Every definition:
docs/reference/decisions-from-memories.md.

Plain Python: for the 10 to 100 neighbours of a question it is faster than numpy, whose calls cost
more than what there is to sum, and a fraction of the search (docs/benchmarks/estimate.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

KernelName = Literal["inverse", "rbf"]

HALF_TRUST_N = 10.0
"""As many neighbours that weigh the same are trusted by half."""


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


@dataclass(slots=True)
class Neighbour:
    """A memory that was found: what was done, what came of it and how far it is.

    Never changed; not frozen, for that doubles the time to make them, up to a thousand an answer.
    """

    action: str | None
    reward: float
    distance: float


@dataclass(frozen=True, slots=True)
class ActionEstimate:
    """What came of one action. The names are those of the answer."""

    action: str | None
    count: int
    value: float
    stdev: float
    q05: float
    q50: float
    q95: float
    win_rate: float
    loss_probability: float
    effective_n: float
    nearest_distance: float


def estimate_actions(
    neighbours: Sequence[Neighbour], kernel: Kernel, *, stop_loss: float
) -> list[ActionEstimate]:
    """One estimate for each action, the highest value first; equal ones by name, no name last."""
    by_action: dict[str | None, list[Neighbour]] = {}
    for neighbour in neighbours:
        by_action.setdefault(neighbour.action, []).append(neighbour)
    found = [_estimate(action, own, kernel, stop_loss) for action, own in by_action.items()]
    return sorted(found, key=lambda e: (-e.value, e.action is None, e.action or ""))


def effective_n(weights: Sequence[float]) -> float:
    """As how many memories that weigh the same these count; 0 for none."""
    squares = sum(weight * weight for weight in weights)
    return sum(weights) ** 2 / squares if squares else 0.0


def confidence(neighbours: Sequence[Neighbour], kernel: Kernel, *, novelty: float) -> float:
    """0 (nothing is known) to 1: many near memories, in a state like those that are known."""
    if not neighbours:
        return 0.0
    support = effective_n(kernel.weights([n.distance for n in neighbours]))
    return (1.0 - novelty) * support / (support + HALF_TRUST_N)


def _estimate(
    action: str | None, neighbours: Sequence[Neighbour], kernel: Kernel, stop_loss: float
) -> ActionEstimate:
    weights = kernel.weights([neighbour.distance for neighbour in neighbours])
    weighted = sorted(zip((n.reward for n in neighbours), weights, strict=True))
    total = sum(weights)
    value = sum(reward * weight for reward, weight in weighted) / total
    spread = sum(weight * (reward - value) ** 2 for reward, weight in weighted) / total
    q05, q50, q95 = _quantiles(weighted, total)
    return ActionEstimate(
        action=action,
        count=len(neighbours),
        value=value,
        stdev=math.sqrt(spread),
        q05=q05,
        q50=q50,
        q95=q95,
        win_rate=sum(weight for reward, weight in weighted if reward > 0) / total,
        loss_probability=sum(w for reward, w in weighted if reward < -stop_loss) / total,
        effective_n=effective_n(weights),
        nearest_distance=min(neighbour.distance for neighbour in neighbours),
    )


def _quantiles(weighted: Sequence[tuple[float, float]], total: float) -> list[float]:
    """The smallest rewards up to which 5, 50 and 95 % of the weight lie. `weighted`: by reward."""
    found: list[float] = []
    wanted = [share * total for share in (0.05, 0.5, 0.95)]
    reached = 0.0
    for reward, weight in weighted:
        reached += weight
        while len(found) < len(wanted) and reached >= wanted[len(found)]:
            found.append(reward)
    # Rounding may leave the sum a hair short of the total.
    return found + [weighted[-1][0]] * (len(wanted) - len(found))
