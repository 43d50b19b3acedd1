"""Distances learned in planted markets, without a service: how well they value, how often they
would be promoted where there is nothing to learn."""

import asyncio
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from app.evaluate.distances.fit import Fitted, Lived, fit
from app.evaluate.placebos import compare
from app.evaluate.questions import Asked, KnownMemory
from app.evaluate.scores import Neighbours, forecasts
from app.memory.estimates.evidence import first_distinct
from app.memory.estimates.kernel import DEFAULT_KERNEL
from tests.evaluate.planted_agent import PLAN, TOP_K
from tests.memory.estimates.planted import HORIZON, INFORMATIVE, Product, product

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """Products that one agent lived through day by day, as columns (m,); states (m, d)."""

    states: NDArray[np.float32]
    reward: Floats
    true_mean: Floats
    day: Floats
    which: Rows
    days: int


def market(seed: int, *, snr: float, products: int, days: int, dimension: int) -> Market:
    """Return a market. Its first half teaches, its second half asks."""
    lived: list[Product] = [
        product(1000 * seed + i, days=days, dimension=dimension, snr=snr) for i in range(products)
    ]
    return Market(
        np.concatenate([one.states for one in lived]),
        np.concatenate([one.reward for one in lived]),
        np.concatenate([one.true_mean for one in lived]),
        np.tile(np.arange(days), products).astype(np.float64),
        np.repeat(np.arange(products), days),
        days,
    )


def even(of: Market, snr: float) -> Market:
    """Return the market with rewards that depend on the size of states alone."""
    size = (of.states[:, :INFORMATIVE].astype(np.float64) ** 2 - 1).sum(1)
    mean = snr * size / np.sqrt(2 * INFORMATIVE)
    reward = of.reward - of.true_mean + mean
    return Market(of.states, reward, mean, of.day, of.which, of.days)


def learned(of: Market) -> Fitted:
    """Return what the first half teaches."""
    rows = np.flatnonzero((of.day % HORIZON == 0) & (of.day + HORIZON <= of.days // 2))
    start = of.day[rows]
    return fit(Lived(of.states[rows], of.reward[rows], start, start + HORIZON))


def asked(of: Market, weights: Floats | None, every: int) -> Asked:
    """Return the neighbours of questions of the second half. `weights` None: by the cosine."""
    table = of.states.astype(np.float64)
    if weights is None:
        table = table / np.linalg.norm(table, axis=1, keepdims=True) / np.sqrt(2.0)
    else:
        table = table * np.sqrt(weights)
    questions = np.flatnonzero((of.day >= of.days // 2) & (of.day % every == 0))
    questions = questions[np.argsort(of.day[questions], kind="stable")]
    rows = np.zeros((len(questions), TOP_K), np.int64)
    kernel = np.zeros((len(questions), TOP_K))
    square = (table**2).sum(1)
    for i, row in enumerate(questions):
        known = np.flatnonzero(of.day + HORIZON <= of.day[row])
        distances = np.maximum(square[known] + square[row] - 2 * table[known] @ table[row], 0.0)
        order = np.argsort(distances)[: 8 * TOP_K]
        nearest = known[order]
        spans = [(of.day[at], of.day[at] + HORIZON) for at in nearest]
        kept = first_distinct(of.which[nearest].tolist(), spans, TOP_K).kept
        rows[i, : len(kept)] = nearest[kept]
        kernel[i, : len(kept)] = DEFAULT_KERNEL.weights(distances[order][kept].tolist())
    return Asked(questions, Neighbours(rows, kernel))


def scaled(fitted: Fitted) -> Floats | None:
    """Return the weights of raw squared differences."""
    if fitted.weights is None:
        return None
    found: Floats = fitted.weights / np.where(fitted.spread > 0, fitted.spread, 1.0) ** 2 / 2
    return found


def rank_correlation(of: Market, weights: Floats | None) -> float:
    """Return Spearman's correlation of the value with the true mean."""
    found = asked(of, weights, 4 * HORIZON)
    value = forecasts(found.neighbours, of.reward, PLAN.rules).value
    return float(spearmanr(value, of.true_mean[found.rows]).statistic)


def is_promoted(of: Market) -> bool:
    """Return whether something is learned and an evaluation of the second half says it helps."""
    weights = scaled(learned(of))
    if weights is None:
        return False
    found = asked(of, weights, HORIZON)
    memory = KnownMemory(
        names=[],
        seq=np.arange(len(of.day)),
        start=of.day,
        end=of.day + HORIZON,
        reward=of.reward,
        agent=np.zeros_like(of.which),
        product=of.which,
        action=np.zeros_like(of.which),
        asked=found.rows,
        eligible=len(found.rows),
        answering=len(of.day),
    )
    return asyncio.run(compare(memory, found, PLAN)).verdict == "helps"


def main() -> int:
    """Print and check the promises of learned distances."""
    count = int(sys.argv[1])
    size = {"products": 6, "days": 2000, "dimension": 256}
    plain, weighted = [], []
    for seed in range(max(1, count // 10)):
        of = market(seed, snr=0.4, **size)
        weights = scaled(learned(of))
        plain.append(rank_correlation(of, None))
        weighted.append(plain[-1] if weights is None else rank_correlation(of, weights))
        sys.stdout.write(f"market {seed}: cosine {plain[-1]:.3f}, learned {weighted[-1]:.3f}\n")
        sys.stdout.flush()
    found = float(np.mean(weighted))
    sys.stdout.write(
        f"value and truth, 8 of 256 numbers matter, signal to noise .4, {len(plain)} markets: "
        f"cosine {np.mean(plain):.3f}, learned {found:.3f} (want >= .65)\n"
    )
    of = even(market(0, snr=0.4, **size), 0.4)
    sys.stdout.write(
        f"even rewards: cosine {rank_correlation(of, None):.3f}, "
        f"learned {rank_correlation(of, scaled(learned(of))):.3f}\n"
    )
    sys.stdout.flush()
    few = {"products": 6, "days": 1000, "dimension": 256}
    promoted = sum(is_promoted(market(seed, snr=0.0, **few)) for seed in range(count))
    sys.stdout.write(f"{count} markets without a signal: {promoted} promoted (want <= 10 %)\n")
    return int(found < 0.65 or promoted > 0.1 * count)


if __name__ == "__main__":
    sys.exit(main())
