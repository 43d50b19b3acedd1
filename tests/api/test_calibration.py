"""What the service says of its estimates' past, in a market whose truth is known."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from app.settings import Settings
from tests.conftest import running_service
from tests.memory.estimates.planted import HORIZON, Product, product

DAY = 86_400.0
T0 = 1_500_000_000.0
DIMENSION = 64
DAYS = 700


def moment(market: Product, day: int) -> dict[str, Any]:
    return {
        "id": f"d{day}",
        "agent_id": "a",
        "product_id": "P",
        "regime": "r",
        "action": "hold5",
        "state_vector": [float(x) for x in market.states[day]],
        "reward": float(market.reward[day]),
        "timestamp": T0 + day * DAY,
        "outcome_at": T0 + (day + HORIZON) * DAY,
    }


@pytest.fixture(scope="module")
def market() -> Product:
    """A market whose states say something of its rewards."""
    return product(3, days=DAYS, dimension=DIMENSION, snr=0.8)


@pytest.fixture
async def filled(settings: Settings, market: Product) -> AsyncIterator[httpx.AsyncClient]:
    """A service whose agent lived through the market."""
    async with running_service(settings.model_copy(update={"dimension": DIMENSION})) as api:
        for start in range(0, DAYS - 100, 300):
            memories = [moment(market, day) for day in range(start, start + 300)]
            answer = await api.post("/v1/episodic/batch", json={"memories": memories})
            assert answer.json()["failed"] == 0
        yield api


async def test_the_record_and_the_interval_that_follows_from_it(
    filled: httpx.AsyncClient, market: Product
) -> None:
    asked: dict[str, str | float] = {"agent_id": "a", "as_of": T0 + 600 * DAY, "top_k": 20}
    answer = await filled.get("/v1/calibration", params=asked)
    assert answer.status_code == 200, answer.text
    record = answer.json()
    assert 60 <= record["n"] <= 120
    for figure in ("coverage", "ece", "slope"):
        found = record[figure]
        assert found["low"] <= found["value"] <= found["high"]
    assert record["coverage"]["low"] <= 0.9 <= record["coverage"]["high"] + 0.03
    assert sum(one["count"] for one in record["reliability"]) == record["n"]
    assert record["skill"]["mse"]["value"] > 0
    state = [float(x) for x in market.states[610]]
    body = {"agent_id": "a", "state_vector": state, "top_k": 20, "as_of": T0 + 600 * DAY}
    (action,) = (await filled.post("/v1/episodic/estimate", json=body)).json()["actions"]
    interval = action["interval"]
    assert interval["method"] == "cqr"
    assert interval["n"] >= 60
    assert interval["low"] < action["value"] < interval["high"]
    assert interval["coverage"] >= 0.85
    known = market.reward[: 600 - HORIZON + 1]
    assert action["baseline"]["n"] == len(known)
    assert action["baseline"]["value"] == pytest.approx(known.mean(), abs=1e-9)
    assert action["baseline"]["stdev"] == pytest.approx(known.std(ddof=1), abs=1e-9)
    assert action["baseline"]["loss_probability"] == pytest.approx((known < 0).mean())
    for share in (5, 95):
        expected = np.quantile(known, share / 100, method="inverted_cdf")
        assert action["baseline"][f"q{share:02d}"] == pytest.approx(expected)
    assert 0 <= action["shrinkage"] < 1
    drawn_in = action["value"] + action["shrinkage"] * (
        action["baseline"]["value"] - action["value"]
    )
    assert action["shrunk_value"] == pytest.approx(drawn_in, abs=1e-9)


async def test_an_estimate_says_that_its_past_is_still_being_computed(
    filled: httpx.AsyncClient, market: Product
) -> None:
    state = [float(x) for x in market.states[610]]
    body = {"agent_id": "a", "state_vector": state, "top_k": 20, "as_of": T0 + 600 * DAY}

    async def ask() -> dict[str, Any]:
        answer = await filled.post("/v1/episodic/estimate", json=body)
        (action,) = answer.json()["actions"]
        return dict(action)

    first = await ask()
    assert first["pending"]
    assert first["interval"]["method"] == "quantile"
    assert first["shrunk_value"] is None
    async with asyncio.timeout(20):
        while (later := await ask())["pending"]:
            await asyncio.sleep(0.02)
    assert later["interval"]["method"] == "cqr"
    assert later["shrunk_value"] is not None
    assert later["value"] == first["value"]


async def test_nothing_is_said_without_a_past(filled: httpx.AsyncClient) -> None:
    answer = await filled.get("/v1/calibration", params={"agent_id": "a", "as_of": T0 + 30 * DAY})
    assert answer.json()["n"] == 0
    assert answer.json()["coverage"] == {"value": None, "low": None, "high": None}
    assert answer.json()["reliability"] == []
    nobody = await filled.get("/v1/calibration", params={"agent_id": "nobody"})
    assert nobody.json()["n"] == 0


async def test_a_backcast_finds_no_outcome_of_its_own(settings: Settings) -> None:
    """An outcome that was known at once is known at the memory's own time."""
    random = np.random.default_rng(0)
    async with running_service(settings.model_copy(update={"dimension": DIMENSION})) as api:
        memories = [
            moment_of_noise(day, random.normal(size=DIMENSION), float(random.normal()))
            for day in range(150)
        ]
        await api.post("/v1/episodic/batch", json={"memories": memories})
        record = (await api.get("/v1/calibration", params={"agent_id": "a", "top_k": 5})).json()
    # Had each found itself, it would have foreseen itself: a skill near 1.
    assert record["n"] > 50
    assert record["skill"]["mse"]["value"] < 0.3


def moment_of_noise(day: int, state: Any, reward: float) -> dict[str, Any]:
    return {
        "id": f"d{day}",
        "agent_id": "a",
        "product_id": "P",
        "regime": "r",
        "action": "hold",
        "state_vector": state.tolist(),
        "reward": reward,
        "timestamp": T0 + day * DAY,
        "outcome_at": T0 + day * DAY,
    }
