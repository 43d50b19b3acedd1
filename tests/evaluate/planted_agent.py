"""An agent in planted markets, asked without a service: what the verdict says, and how often."""

import asyncio
import sys

import numpy as np

from app.evaluate.placebos import Plan, compare
from app.evaluate.questions import MAX_QUESTIONS, Asked, KnownMemory
from app.evaluate.scores import Neighbours, Rules
from app.evaluate.verdict import Verdict
from app.memory.estimates.evidence import first_distinct
from app.memory.estimates.kernel import DEFAULT_KERNEL
from tests.memory.estimates.planted import HORIZON, product

TOP_K = 50
WARM_UP = 100
PLAN = Plan(
    Rules(stop_loss=0.0, cost=0.0), placebos=99, seed=1, decides="rank_correlation", rest=0.0
)


def judged(seed: int, *, snr: float, products: int, days: int, dimension: int) -> Verdict:
    """Return the verdict on an agent that lived through this many products, day by day."""
    lived = [
        product(1000 * seed + i, days=days, dimension=dimension, snr=snr) for i in range(products)
    ]
    states = np.concatenate([one.states for one in lived])
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    day = np.tile(np.arange(days), products).astype(np.float64)
    which = np.repeat(np.arange(products), days)
    reward = np.concatenate([one.reward for one in lived])
    asked = np.flatnonzero((day >= WARM_UP) & (day % HORIZON == 0))
    asked = asked[np.argsort(day[asked], kind="stable")][-MAX_QUESTIONS:]
    rows = np.zeros((len(asked), TOP_K), np.int64)
    weights = np.zeros((len(asked), TOP_K))
    distances = 1.0 - states[asked] @ states.T
    for i, row in enumerate(asked):
        known = np.flatnonzero(day + HORIZON <= day[row])
        nearest = known[np.argsort(distances[i, known])[: 8 * TOP_K]]
        spans = [(day[at], day[at] + HORIZON) for at in nearest]
        kept = nearest[first_distinct(which[nearest].tolist(), spans, TOP_K).kept]
        rows[i, : len(kept)] = kept
        weights[i, : len(kept)] = DEFAULT_KERNEL.weights(distances[i, kept].tolist())
    memory = KnownMemory(
        names=[],
        seq=np.arange(len(day)),
        start=day,
        end=day + HORIZON,
        reward=reward,
        agent=np.zeros_like(which),
        product=which,
        action=np.zeros_like(which),
        asked=asked,
        eligible=len(asked),
        answering=len(day),
    )
    return asyncio.run(compare(memory, Asked(asked, Neighbours(rows, weights)), PLAN))


def share_found(seeds: int, call: str, **market: float) -> float:
    """Return in which share of this many markets the verdict is `call`."""
    found = [judged(seed, **market).verdict for seed in range(seeds)]  # type: ignore[arg-type]
    return found.count(call) / seeds  # type: ignore[arg-type]


def main() -> int:
    """Print and check both promises of the verdict."""
    seeds = int(sys.argv[1])
    wrong = share_found(seeds, "helps", snr=0.0, products=6, days=1000, dimension=256)
    sys.stdout.write(f"{seeds} markets without a signal: {wrong:.1%} called helps (want <= 8 %)\n")
    sys.stdout.flush()
    right = share_found(seeds, "helps", snr=0.4, products=6, days=1000, dimension=256)
    sys.stdout.write(f"{seeds} markets with signal to noise .4: {right:.1%} found (want >= 80 %)\n")
    return int(wrong > 0.08 or right < 0.8)


if __name__ == "__main__":
    sys.exit(main())
