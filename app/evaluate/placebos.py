"""Placebos: a memory whose rewards are moved to other times, so that it knows nothing.

The rewards of each agent, product and action are rotated: each series moves by the same share of
its length, and rewards pushed past the end come back at the beginning. Their values and their order
stay, and so do the neighbours of each question. Only the link between a state and its reward is
broken.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from app.contract.evaluation import EvaluationFinding, StatisticName
from app.evaluate.questions import Asked, KnownMemory, rest
from app.evaluate.scores import STATISTICS, Rules, forecasts, points
from app.evaluate.verdict import Verdict, gained, verdict
from app.memory.estimates.calibration import mean_block
from app.memory.estimates.magnitude import exponent_of, times_power

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

SHORTEST, LONGEST = 0.1, 0.9
"""A smaller rotation, or one of nearly the whole length, would leave rewards near their states."""

FEWEST_QUESTIONS = 20

IN_REWARDS = ("interval_score", "profit")
"""The statistics in the unit of the rewards."""
FIGURES = ("value", "placebo", "effect", "low", "high", "detectable")


def series(start: Floats, *codes: Rows) -> list[Rows]:
    """Return the rows that agree in all codes, in order of time."""
    order = np.lexsort((start, *codes))
    ends = np.any([np.diff(column[order]) != 0 for column in codes], axis=0)
    return np.split(order, np.flatnonzero(ends) + 1)


def rotations(rewards: Floats, parts: Sequence[Rows], *, count: int, seed: int) -> Iterator[Floats]:
    """Yield `count` placebos of the rewards (m,). `parts`: the rows of each series."""
    for share in np.random.default_rng(seed).uniform(SHORTEST, LONGEST, count):
        moved = rewards.copy()
        for rows in parts:
            moved[rows] = np.roll(rewards[rows], max(1, round(share * len(rows))))
        yield moved


@dataclass(frozen=True, slots=True)
class Plan:
    """How to compare a memory. `decides` names the statistic that decides. `rest` is the pause
    after each placebo, as a multiple of the time that it took.
    """

    rules: Rules
    placebos: int
    seed: int
    decides: StatisticName
    rest: float


async def compare(memory: KnownMemory, asked: Asked, plan: Plan) -> Verdict:
    """Return the verdict on a memory. Each placebo is computed in a thread, one at a time."""
    if len(asked.rows) < FEWEST_QUESTIONS:
        return Verdict("unproven", plan.decides, [])
    memory, plan, exponent = _within_range(memory, plan)
    came = memory.reward[asked.rows]

    def scored(rewards: Floats) -> Floats:
        return points(forecasts(asked.neighbours, rewards, plan.rules), came, plan.rules)

    own = await asyncio.to_thread(scored, memory.reward)
    total, means = np.zeros_like(own), []
    parts = series(memory.start, memory.action, memory.product, memory.agent)
    for rewards in rotations(memory.reward, parts, count=plan.placebos, seed=plan.seed):
        began = perf_counter()
        placebo = await asyncio.to_thread(scored, rewards)
        total += placebo
        means.append(placebo.mean(1))
        await rest(began, plan.rest)
    found = await asyncio.to_thread(
        verdict,
        own,
        total / plan.placebos,
        np.stack(means, axis=1),
        mean_block=mean_block(memory.start[asked.rows], memory.end[asked.rows]),
        decides=plan.decides,
    )
    return replace(found, findings=[_in_rewards(one, exponent) for one in found.findings])


def _within_range(memory: KnownMemory, plan: Plan) -> tuple[KnownMemory, Plan, int]:
    """Return both with rewards divided by a power of two, and that power; mostly 0."""
    exponent = exponent_of(memory.reward)
    rules = np.array([plan.rules.stop_loss, plan.rules.cost])
    stop_loss, cost = times_power(rules, -exponent).tolist()
    return (
        replace(memory, reward=times_power(memory.reward, -exponent)),
        replace(plan, rules=Rules(stop_loss=stop_loss, cost=cost)),
        exponent,
    )


def _in_rewards(found: EvaluationFinding, exponent: int) -> EvaluationFinding:
    """Return a statistic of rewards that were divided by this power of two."""
    if not exponent or found.statistic not in IN_REWARDS:
        return found
    scaled = times_power(np.array([getattr(found, name) for name in FIGURES]), exponent).tolist()
    placebos = times_power(np.array(found.placebos), exponent).tolist()
    figures = dict(zip(FIGURES, scaled, strict=True))
    return found.model_copy(update=figures | {"placebos": placebos})


def compare_plain(
    memory: KnownMemory, asked: Asked, plain: Asked, plan: Plan
) -> tuple[float, float, float] | None:
    """Return by how much the deciding statistic of `asked` is above that of `plain`, by `gained`.

    On the questions that both answer; None if these are too few.
    """
    both, at, at_plain = np.intersect1d(asked.rows, plain.rows, return_indices=True)
    if len(both) < FEWEST_QUESTIONS:
        return None
    order = np.argsort(memory.start[both], kind="stable")
    both, at, at_plain = both[order], at[order], at_plain[order]
    memory, plan, exponent = _within_range(memory, plan)
    came, decides = memory.reward[both], STATISTICS.index(plan.decides)

    def scored(found: Asked, places: Rows) -> Floats:
        told = forecasts(found.neighbours.of(places), memory.reward, plan.rules)
        own: Floats = points(told, came, plan.rules)[decides]
        return own

    block = mean_block(memory.start[both], memory.end[both])
    more, low, high = gained(scored(asked, at), scored(plain, at_plain), block)
    if plan.decides in IN_REWARDS:
        more, low, high = times_power(np.array([more, low, high]), exponent).tolist()
    return more, low, high
