"""Compares a memory's forecasts with those of its placebos."""

import asyncio
from dataclasses import dataclass

import numpy as np

from app.evaluate.placebos import rotations, series
from app.evaluate.questions import Asked, Memory, mean_block
from app.evaluate.scores import STATISTICS, Rules, forecasts, points
from app.evaluate.verdict import Verdict, verdict

FEWEST_QUESTIONS = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """How a memory is compared. `decides`: the statistic that the verdict goes by."""

    rules: Rules
    placebos: int
    seed: int
    decides: str


async def compare(memory: Memory, asked: Asked, plan: Plan) -> Verdict:
    """Return the verdict on a memory. Each placebo is worked out in a thread, one at a time."""
    if len(asked.rows) < FEWEST_QUESTIONS:
        return Verdict("unproven", plan.decides, [])
    came = memory.reward[asked.rows]

    def scored(rewards: np.ndarray) -> np.ndarray:
        return points(forecasts(asked.neighbours, rewards, plan.rules), came, plan.rules)

    own = await asyncio.to_thread(scored, memory.reward)
    total, means = np.zeros_like(own), []
    parts = series(memory.start, memory.product, memory.action)
    for rewards in rotations(memory.reward, parts, count=plan.placebos, seed=plan.seed):
        placebo = await asyncio.to_thread(scored, rewards)
        total += placebo
        means.append(placebo.mean(1))
    assert len(own) == len(STATISTICS)
    return await asyncio.to_thread(
        verdict,
        own,
        total / plan.placebos,
        np.stack(means, axis=1),
        mean_block=mean_block(memory.start[asked.rows], memory.end[asked.rows]),
        decides=plan.decides,
    )
