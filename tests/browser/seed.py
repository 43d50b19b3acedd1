"""What the pages show in tests: three agents' random walks, as seen by the market's words."""

import time
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from app.decisions.recall_ids import Shares, new_recall_id
from app.model import ArmName

DIMENSION = 256
MOMENTS = 240
DAY_S = 86_400.0
START = 1_577_836_800.0  # 2020-01-01
PRODUCTS = ("AAPL", "BTC-USD", "KO")
REGIMES = ("bull_low_vol", "bear_high_vol", "sideways")
ACTIONS = ("buy", "hold", "sell")
DECIDER = "agent_decider"
EARNED: dict[ArmName, float] = {"memory": 0.03, "no_memory": 0.0, "placebo": 0.029}
"""Mean rewards of the decisions of each arm."""
DECISIONS = 150
"""Of each arm."""


def agent_of(product: str) -> str:
    """Whose memory a product's moments are."""
    return f"agent_{product}"


def moment_id(product: str, day: int) -> str:
    """The id of a product's moment."""
    return f"{product}-{day:03d}"


def seed(client: httpx.Client) -> None:
    """Store the moments of all products and two concepts."""
    random = np.random.default_rng(7)
    for product in PRODUCTS:
        states = _walk(random)
        memories = [_moment(product, day, states[day], random) for day in range(MOMENTS)]
        answer = client.post("/v1/episodic/batch", json={"memories": memories}).raise_for_status()
        assert answer.json()["failed"] == 0
    for n, kind in enumerate(("PATTERN", "STRATEGY")):
        concept = {
            "id": f"concept-{n}",
            "memory_type": kind,
            "regime_name": REGIMES[n],
            "concept_vector": _state(random.normal(size=DIMENSION)),
            "sharpe_ratio": 1.25 - n,
            "win_rate": 0.6,
            "metadata": {"status": "promoted", "status_reason": "120 memories are enough", "n": 120,
                         "episodes": [{"agent_id": agent_of("KO"), "id": moment_id("KO", 3)}]},
        }  # fmt: skip
        client.post("/v1/semantic", json=concept).raise_for_status()


def decide(client: httpx.Client) -> None:
    """Store closed decisions of an agent: more is earned with the memory than without it."""
    random = np.random.default_rng(8)
    now, third = time.time(), Shares(3333, 3334)
    memories = []
    for number in range(DECISIONS):
        for arm, mean in EARNED.items():
            state = _state(random.normal(size=DIMENSION))
            named = new_recall_id(DECIDER, arm, third, random.bytes(8), now)
            memories.append(
                {
                    "agent_id": DECIDER,
                    "id": named,
                    "product_id": PRODUCTS[number % 2],
                    "regime": REGIMES[number % 3],
                    "action": "hold",
                    "state_vector": state,
                    "reward": float(random.normal(mean, 0.02)),
                    "timestamp": START + number * DAY_S,
                }
            )
    answer = client.post("/v1/episodic/batch", json={"memories": memories}).raise_for_status()
    assert answer.json()["failed"] == 0


def _walk(random: np.random.Generator) -> NDArray[np.float64]:
    """(MOMENTS, DIMENSION): each day resembles the one before."""
    states = random.normal(size=(MOMENTS, DIMENSION))
    for day in range(1, MOMENTS):
        states[day] = 0.9 * states[day - 1] + 0.44 * states[day]
    return states


def _moment(
    product: str, day: int, state: NDArray[np.float64], random: np.random.Generator
) -> dict[str, Any]:
    timestamp = START + day * DAY_S
    closed = day < MOMENTS - 2
    outcome = {"reward": round(float(random.normal(0.01, 0.05)), 6)} if closed else {}
    if closed:
        outcome["outcome_at"] = timestamp + 5 * DAY_S
    return {
        "agent_id": agent_of(product),
        "id": moment_id(product, day),
        "product_id": product,
        "regime": REGIMES[day // 80],
        "action": ACTIONS[day % 3],
        "timestamp": timestamp,
        "state_vector": _state(state),
        **outcome,
    }


def _state(state: NDArray[np.float64]) -> list[float]:
    return [round(float(number), 6) for number in state]
