"""Rivals that need no states: means of everything known, of the regime, of the stock; and a coin.

Each knows at a decision day what the agent knows then, the outcomes of all days before, and decides
by the agent's own rule.
"""

import numpy as np
from numpy.typing import NDArray

from demo.guide.trader import ENOUGH, Expectation
from demo.guide.walk import Walk


def means(walked: Walk, *, of_regime: bool, of_stock: bool) -> list[list[Expectation]]:
    """Return mean and deviation of the outcomes of all earlier moments, or those of the same kind.

    of_regime, of_stock: only moments of the same regime, of the same stock. If those are fewer than
    the rule asks for, all count.
    """
    rewards = np.vstack([walked.past_rewards, walked.rewards])
    regimes = np.vstack([walked.past_regimes, walked.regimes])
    stocks = np.broadcast_to(np.arange(len(walked.products)), rewards.shape)
    found = []
    for day in range(len(walked.past_rewards), len(rewards)):
        of_day = []
        for stock in range(len(walked.products)):
            alike = np.ones((day, len(walked.products)), dtype=np.bool_)
            if of_regime:
                alike &= regimes[:day] == regimes[day, stock]
            if of_stock:
                alike &= stocks[:day] == stock
            of_day.append(_mean(rewards[:day], alike))
        found.append(of_day)
    return found


def coins(walked: Walk, *, share: float, count: int, seed: int) -> list[NDArray[np.bool_]]:
    """Return `count` walks of a trader who buys with probability `share`, whatever the state."""
    generator = np.random.default_rng(seed)
    return [generator.random(walked.rewards.shape) < share for _ in range(count)]


def _mean(known: NDArray[np.float64], alike: NDArray[np.bool_]) -> Expectation:
    rewards = known[alike] if np.count_nonzero(alike) >= ENOUGH else known
    if not len(rewards):
        return Expectation()
    return Expectation(float(rewards.mean()), float(rewards.std()), float(len(rewards)))
