"""Turns the sums of an agent's decisions into a report."""

from collections.abc import Mapping, Sequence

from app.contract.decisions import (
    ArmFigures,
    Comparison,
    NamedUplift,
    Uplift,
    UpliftFigures,
)
from app.contract.evaluation import VerdictName
from app.model import ARMS
from app.uplift.confidence import FEWEST_TOLD, LEVEL, uplift_interval

Sums = Sequence[float]
"""The numbers of one slice, in the order of lua/decide.lua."""

OF_ARM, OF_COMPARISON = 3, 3
COMPARED_FROM = OF_ARM * len(ARMS)


def uplift_of(agent_id: str, slices: Mapping[str, Sums]) -> Uplift:
    """Return the report on an agent's decisions."""
    return Uplift(
        agent_id=agent_id,
        level=LEVEL,
        method="asymptotic_confidence_sequence",
        products=_named(slices, "product:"),
        regimes=_named(slices, "regime:"),
        **dict(figures_of(slices.get("all", [0.0] * (COMPARED_FROM + 2 * OF_COMPARISON)))),
    )


def _named(slices: Mapping[str, Sums], prefix: str) -> list[NamedUplift]:
    return [
        NamedUplift(name=field.removeprefix(prefix), **dict(figures_of(slices[field])))
        for field in sorted(slices)
        if field.startswith(prefix)
    ]


def figures_of(sums: Sums, *, error: float = 1.0 - LEVEL) -> UpliftFigures:
    """Return one slice's statistics. `error`: the probability that an interval is ever wrong."""
    arms = [
        ArmFigures(
            arm=arm,
            closed=int(sums[OF_ARM * i]),
            expected=sums[OF_ARM * i + 2],
            mean_reward=sums[OF_ARM * i + 1] if sums[OF_ARM * i] else None,
        )
        for i, arm in enumerate(ARMS)
    ]
    return UpliftFigures(arms=arms, comparisons=[_compared(sums, i, error) for i in (1, 2)])


def _compared(sums: Sums, other: int, error: float) -> Comparison:
    at = COMPARED_FROM + OF_COMPARISON * (other - 1)
    n, total, squares = sums[at : at + OF_COMPARISON]
    against = ARMS[other]
    assert against != "memory"
    if min(sums[0], sums[OF_ARM * other]) < FEWEST_TOLD or n == 0:
        return Comparison(
            against=against,
            decisions=int(n),
            uplift=None,
            low=None,
            high=None,
            verdict="unproven",
        )
    found = uplift_interval(n, total, squares, error=error)
    return Comparison(
        against=against,
        decisions=int(n),
        uplift=found.uplift,
        low=found.low,
        high=found.high,
        verdict=_verdict(found.low, found.high),
    )


def _verdict(low: float, high: float) -> VerdictName:
    if low > 0.0:
        return "helps"
    return "harms" if high < 0.0 else "unproven"
