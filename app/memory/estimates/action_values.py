"""The outcomes of each action in similar moments: kernel-weighted statistics and their precision.

Neural Episodic Control takes the weighted mean of the neighbours' rewards as an action's value.
This adds how far that value can be trusted. Every definition, with its source:
docs/reference/decisions-from-memories.md.

Plain Python: for the 10 to 100 neighbours of a question it is faster than numpy, whose calls cost
more than what there is to sum, and a fraction of the search (docs/benchmarks/estimate.md).
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Literal

from scipy.special.cython_special import betaincinv

from app.memory.estimates.evidence import Interval, independent_n
from app.memory.estimates.kernel import Kernel, effective_n
from app.memory.estimates.magnitude import LARGEST, SAFE_EXPONENTS, clamped

RankBy = Literal["value", "value_low"]

HALF_TRUST_N = 10.0
"""This many neighbours of equal weight give a confidence of one half."""

ROUNDING = 1e-12
"""An upper bound on the relative rounding error of a sum of a thousand weights."""

WEIGHTLESS = 1e-200
"""A weight below this share of the largest one counts for nothing."""

TAIL = 0.95
"""`value_low` and `value_high` leave out 5 % of Student's t on either side."""


@dataclass(slots=True)
class Neighbour:
    """A memory that was found: what was done, what came of it and how far it is.

    `interval`: its timestamp and its outcome_at, unix seconds. Never modified. Not frozen, because
    that doubles the time to create them, up to a thousand for an answer.
    """

    action: str | None
    reward: float
    distance: float
    product: object = None
    interval: Interval = (0.0, 0.0)


@dataclass(slots=True)
class ActionValue:
    """The outcomes of one action. The names are those of the answer. Never modified.

    `stdev` and everything derived from it are None for a single memory.
    """

    action: str | None
    count: int
    value: float
    stdev: float | None
    q05: float
    q50: float
    q95: float
    win_rate: float
    loss_probability: float
    effective_n: float
    independent_n: float
    standard_error: float | None
    value_low: float | None
    value_high: float | None
    nearest_distance: float


def estimate_actions(
    neighbours: Sequence[Neighbour],
    kernel: Kernel,
    *,
    stop_loss: float,
    rank_by: RankBy = "value_low",
) -> list[ActionValue]:
    """Return one estimate for each action, best first; ties by name, no name last.

    `rank_by` value_low puts what is surely good before what may be good: actions with a single
    memory, whose spread is unknown, come last.
    """
    by_action: dict[str | None, list[Neighbour]] = {}
    for neighbour in neighbours:
        by_action.setdefault(neighbour.action, []).append(neighbour)
    found = [action_value(action, own, kernel, stop_loss) for action, own in by_action.items()]
    return ranked(found, rank_by)


def ranked(found: Sequence[ActionValue], rank_by: RankBy) -> list[ActionValue]:
    """Return the estimates, best first."""
    if rank_by == "value":
        return sorted(found, key=lambda e: (-e.value, e.action is None, e.action or ""))
    return sorted(found, key=_surest_first)


def confidence(support: float, *, novelty: float) -> float:
    """Return 0 (nothing is known) to 1 (many near memories, and a state like known ones).

    `support`: the effective_n of all memories.
    """
    return (1.0 - novelty) * support / (support + HALF_TRUST_N)


def action_value(
    action: str | None, neighbours: Sequence[Neighbour], kernel: Kernel, stop_loss: float
) -> ActionValue:
    """Return the statistics of one action's memories, at least one."""
    distances = [neighbour.distance for neighbour in neighbours]
    weights = kernel.weights(distances)
    pairs = sorted(zip([n.reward for n in neighbours], weights, strict=True))
    rewards = [reward for reward, _ in pairs]
    by_reward = [weight for _, weight in pairs]
    total = math.fsum(weights)
    value, stdev = _moments(rewards, by_reward, total)
    q05, q50, q95 = weighted_quantiles(rewards, by_reward, total, (0.05, 0.5, 0.95))
    kish = effective_n(weights)
    independent = _independent(neighbours, weights, kish)
    error, low, high = precision(value, stdev, independent)
    return ActionValue(
        action=action,
        count=len(neighbours),
        value=value,
        stdev=stdev,
        q05=q05,
        q50=q50,
        q95=q95,
        # Sums rounded once: a part is never more than the whole, and all of it is the whole.
        win_rate=math.fsum(by_reward[bisect_right(rewards, 0.0) :]) / total,
        loss_probability=math.fsum(by_reward[: bisect_left(rewards, -stop_loss)]) / total,
        effective_n=kish,
        independent_n=independent,
        standard_error=error,
        value_low=low,
        value_high=high,
        nearest_distance=min(distances),
    )


def precision(
    value: float, stdev: float | None, independent: float
) -> tuple[float | None, float | None, float | None]:
    """Return the standard error of a value, and the ends of its interval. None if unbounded."""
    if stdev is None:
        return None, None, None
    error = stdev / math.sqrt(independent)
    half = _t_quantile(independent - 1.0) * error
    if not math.isfinite(half):
        return error, None, None
    return error, clamped(value - half), clamped(value + half)


def weighted_quantiles(
    rewards: Sequence[float], weights: Sequence[float], total: float, shares: Sequence[float]
) -> list[float]:
    """Return the smallest rewards whose cumulative weights reach these shares.

    `rewards` and `shares` ascending. numpy's `quantile(..., weights=w, method="inverted_cdf")`.
    """
    # A share that the weights reach exactly may be missed by the last digit of their sum.
    wanted = [share * total - ROUNDING * total for share in shares]
    reached = list(accumulate(weights))
    return [rewards[bisect_left(reached, weight)] for weight in wanted]


def _surest_first(estimate: ActionValue) -> tuple[bool, float, float, bool, str]:
    low = estimate.value_low
    return (
        low is None,
        0.0 if low is None else -low,
        -estimate.value,
        estimate.action is None,
        estimate.action or "",
    )


def _independent(neighbours: Sequence[Neighbour], weights: Sequence[float], kish: float) -> float:
    """Return `independent_n`; as cheap as `kish` if no two intervals overlap."""
    intervals = [n.interval for n in neighbours]
    until = -math.inf
    for start, end in sorted(intervals):
        if start < until:
            return independent_n(weights, [n.product for n in neighbours], intervals)
        until = end
    return kish


def _t_quantile(degrees_of_freedom: float) -> float:
    """Return Student's t that leaves 5 % above it; infinite without a degree of freedom."""
    if degrees_of_freedom <= 0.0:
        return math.inf
    # By the beta distribution: half the time of stdtrit.
    x: float = betaincinv(degrees_of_freedom / 2.0, 0.5, 2.0 * (1.0 - TAIL))
    return math.sqrt(degrees_of_freedom * (1.0 - x) / x) if x > 0.0 else math.inf


def _moments(
    rewards: Sequence[float], weights: Sequence[float], total: float
) -> tuple[float, float | None]:
    """Return the mean and the unbiased standard deviation of rewards, which ascend.

    sqrt(sum w (r - mean)^2 / (W - sum w^2 / W)), W = sum w; None if one memory has all the weight.
    The heaviest memory's reward is subtracted first (Chan, Golub, LeVeque 1983). So the result is
    exact to the last digits for nearly equal rewards, however unequal the weights, and for rewards
    whose squares no float can hold.
    """
    least, largest = rewards[0], rewards[-1]
    heaviest = max(weights)
    at = weights.index(heaviest)
    centre = rewards[at]
    others = [*weights[:at], *weights[at + 1 :]]
    rest = math.fsum(others) / heaviest
    if least == largest:
        return least, 0.0 if rest > WEIGHTLESS else None
    exponent = math.frexp(max(-least, largest))[1]
    most = min(LARGEST, largest / math.sqrt(2) - least / math.sqrt(2))
    if not SAFE_EXPONENTS[0] < exponent < SAFE_EXPONENTS[1]:
        # A power of two takes no digit away.
        scaled = [math.ldexp(reward, -exponent) for reward in rewards]
        mean, stdev = _moments(scaled, weights, total)
        # The smallest may be scaled to 0, and so may their mean.
        mean = min(max(math.ldexp(mean, exponent), least), largest)
        return mean, None if stdev is None else _ldexp(stdev, exponent, most)
    away = [reward - centre for reward in rewards]
    del away[at]
    parts = [weight / heaviest for weight in others]
    moved = list(map(mul, parts, away))
    whole = total / heaviest
    first = math.fsum(moved)
    mean = min(max(centre + first / whole, least), largest)
    if rest <= WEIGHTLESS:
        return mean, None
    squares = math.fsum(map(mul, moved, away))
    # sum w_i (W - w_i); the heaviest weighs 1, and W - 1 is what the others weigh.
    pairs = rest + math.fsum([w * (whole - w) for w in parts])
    variance = max(0.0, squares * whole - first * first) / pairs
    return mean, min(math.sqrt(variance), most)


def _ldexp(value: float, exponent: int, most: float) -> float:
    try:
        return min(math.ldexp(value, exponent), most)
    except OverflowError:
        return most
