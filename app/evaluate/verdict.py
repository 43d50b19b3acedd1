"""From a memory's points and its placebos' to a verdict.

One statistic, chosen in advance, decides. The others are reported with p-values corrected for their
number (Holm 1979). A p-value is the share of placebos that score at least as high, counting the
memory itself as one of them (Phipson, Smyth 2010), so that it is never 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.contract.evaluation import EvaluationFinding, StatisticName, VerdictName
from app.evaluate.scores import STATISTICS
from app.memory.estimates.calibration import stationary_blocks
from app.memory.estimates.magnitude import ROUNDING

Floats = NDArray[np.float64]

LEVEL = 0.05
DETECTABLE = 1.645 + 0.842
"""The effect, in standard errors, that a one-sided test at 5 % detects in 80 of 100 cases."""

DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Verdict:
    """`statistic` decided. `findings` are empty if there were too few questions."""

    verdict: VerdictName
    statistic: StatisticName
    findings: list[EvaluationFinding]


def verdict(
    own: Floats,
    placebo_points: Floats,
    placebo_means: Floats,
    *,
    mean_block: float,
    decides: StatisticName,
) -> Verdict:
    """Return the verdict.

    `own` (statistics, n): the memory's points. `placebo_points` (statistics, n): their mean over
    all placebos. `placebo_means` (statistics, placebos): each one's statistic. `mean_block`:
    questions in a block of the bootstrap (Politis, Romano 1994), on average.
    """
    value = own.mean(1)
    count = placebo_means.shape[1] + 1
    better = (1 + (placebo_means >= value[:, None]).sum(1)) / count
    worse = (1 + (placebo_means <= value[:, None]).sum(1)) / count
    drawn = _apart(own, placebo_points)[:, stationary_blocks(own.shape[1], mean_block, DRAWS)].mean(
        2
    )
    low, high = np.quantile(drawn, [0.025, 0.975], axis=1)
    placebo = placebo_means.mean(1)
    effect = _apart(value, placebo)
    detectable = DETECTABLE * placebo_means.std(axis=1, ddof=1)
    holm_helps, holm_harms = holm(better.tolist()), holm(worse.tolist())
    findings = [
        EvaluationFinding(
            statistic=name,
            value=float(value[i]),
            placebo=float(placebo[i]),
            effect=float(effect[i]),
            low=float(low[i]),
            high=float(high[i]),
            detectable=float(detectable[i]),
            p_helps=float(better[i]),
            p_harms=float(worse[i]),
            holm_helps=holm_helps[i],
            holm_harms=holm_harms[i],
            placebos=placebo_means[i].tolist(),
        )
        for i, name in enumerate(STATISTICS)
    ]
    decisive = findings[STATISTICS.index(decides)]
    return Verdict(call(decisive.p_helps, decisive.p_harms), decides, findings)


def _apart(own: Floats, other: Floats) -> Floats:
    """Return own - other, or 0 if only rounding keeps equal means apart."""
    difference = own - other
    least = ROUNDING * np.maximum(np.abs(own), np.abs(other))
    found: Floats = np.where(np.abs(difference) <= least, 0.0, difference)
    return found


def gained(own: Floats, plain: Floats, block: float) -> tuple[float, float, float]:
    """Return how much more the mean of `own` (n,) is than that of `plain`, question by question.

    With the ends of a 95 % interval (stationary block bootstrap).
    """
    more = own - plain
    drawn = more[stationary_blocks(len(more), block, DRAWS)].mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(more.mean()), float(low), float(high)


def call(p_helps: float, p_harms: float) -> VerdictName:
    """Return what these p-values prove."""
    if p_helps <= LEVEL:
        return "helps"
    return "harms" if p_harms <= LEVEL else "unproven"


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for their number, in the same order (Holm 1979)."""
    corrected = [0.0] * len(p_values)
    reached = 0.0
    for done, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        reached = max(reached, min(1.0, (len(p_values) - done) * p_values[i]))
        corrected[i] = reached
    return corrected
