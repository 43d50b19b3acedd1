"""What is compiled chooses and sums up as plain Python does."""

import math
import random
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from app.memory.estimates.action_values import Neighbour, RankBy
from app.memory.estimates.evidence import Apart
from app.memory.estimates.history import History
from app.memory.estimates.kernel import Kernel
from app.memory.estimates.magnitude import clamped
from app.memory.estimates.summary import CompiledSums, Summary, Summing

DAY_S = 86_400.0
MEMORIES = 120
SIZES = (1.0, 1e200, 1e-200, 1e-320, 1e307)


def _record(number: int, size: float, products: int, chance: random.Random) -> dict[str, Any]:
    start = number * DAY_S
    end = start + chance.choice([0.0, DAY_S, 5 * DAY_S])
    is_open = chance.random() < 0.1
    return {
        "id": f"m{number}",
        "timestamp": start,
        "outcome_at": None if is_open else end,
        "reward": None if is_open else chance.gauss(0, 1) * size,
        "product_id": f"p{number % products}",
        "regime": "bull",
        "action": chance.choice(["buy", "sell", None]),
        "terminal": False,
        "recorded_at": chance.choice([end, 1.0, 1.0]),
        "scale": chance.choice([None, 0.5, 2.0]),
    }


def _in_python(
    history: History,
    rows: list[int],
    distances: list[float],
    *,
    count: int,
    is_distinct: bool,
    scale: float | None,
    summing: Summing,
) -> tuple[list[int], Summary]:
    apart = Apart()
    chosen: list[int] = []
    found: list[Neighbour] = []
    for row, distance in zip(rows, distances, strict=True):
        fact = history.facts(None)[row]
        is_known = math.isfinite(fact.end) and len(chosen) < count
        if is_known and (not is_distinct or apart.add(fact.product, fact.interval)):
            reward = fact.reward
            if scale is not None and not math.isnan(fact.scale):
                reward = clamped(reward / fact.scale * scale)
            neighbour = Neighbour(fact.action, reward, distance, fact.product, fact.interval)
            chosen.append(row)
            found.append(neighbour)
    return chosen, summing.of(found)


@pytest.mark.parametrize("seed", range(30))
def test_what_is_compiled_equals_python(seed: int) -> None:
    chance, rng = random.Random(seed), np.random.default_rng(seed)
    history = History()
    size, products = chance.choice(SIZES), chance.choice([1, 3, 20])
    history.put((i + 1, _record(i, size, products, chance)) for i in range(MEMORIES))
    rows = rng.permutation(MEMORIES)[: chance.choice([5, 60, MEMORIES])]
    distances = np.sort(rng.random(len(rows))).tolist()
    kernel = Kernel(chance.choice(["inverse", "rbf"]), 1e-3, chance.choice([0.3, 1.0]))
    ranks: list[RankBy] = ["value", "value_low"]
    summing = Summing(
        kernel, chance.choice([0.0, 0.02]), chance.choice(ranks), MEMORIES / 2 * DAY_S
    )
    how: dict[str, Any] = {
        "count": chance.choice([1, 10, 50]),
        "is_distinct": chance.random() < 0.7,
        "scale": chance.choice([None, 2.0]),
        "summing": summing,
    }
    sums = CompiledSums()
    sums.load()
    found = sums.chosen(history, (rows + 1).tolist(), distances, **how)
    assert found is not None
    assert (
        sums.chosen(history, [*(rows + 1).tolist(), MEMORIES + 1], [*distances, 2.0], **how) is None
    )
    chosen, right = _in_python(history, rows.tolist(), distances, **how)
    assert found.rows == chosen
    summary = found.summary
    assert (summary.nearest, summary.later) == (right.nearest, right.later)
    assert summary.support == pytest.approx(right.support, rel=1e-12)
    assert [a.action for a in summary.actions] == [a.action for a in right.actions]
    for value, expected in zip(summary.actions, right.actions, strict=True):
        told = asdict(value)
        for name, figure in asdict(expected).items():
            if name == "action" or figure is None:
                assert told[name] == figure
            else:
                assert told[name] == pytest.approx(figure, rel=1e-9, abs=0.0), name
