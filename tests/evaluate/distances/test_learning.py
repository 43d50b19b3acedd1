"""A distance from its learning to its promotion and back, over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from redis.asyncio import Redis

from app import keys
from app.settings import Settings
from tests.auth.keyed_service import keyed_service, with_keys
from tests.conftest import running_service
from tests.evaluate.test_routes import finished, store
from tests.memory.estimates.planted import HORIZON, INFORMATIVE, product

DAY = 86_400.0
T0 = 1_500_000_000.0
DIMENSION = 64
DAYS = 1_100
CUT = 700
SEEDS = (7, 8)
AS_OF = T0 + CUT * DAY
NAMES = [f"feature {i}" for i in range(DIMENSION)]


def moments(agent_id: str, days: range, *, snr: float = 1.0) -> list[dict[str, Any]]:
    """What an agent lived through on these days, in two products."""
    lived = [product(seed, days=DAYS, dimension=DIMENSION, snr=snr) for seed in SEEDS]
    return [
        {
            "id": f"p{number}d{day}",
            "agent_id": agent_id,
            "product_id": f"P{number}",
            "regime": "r",
            "action": "hold5",
            "state_vector": market.states[day].tolist(),
            "reward": float(market.reward[day]),
            "timestamp": T0 + day * DAY,
            "outcome_at": T0 + (day + HORIZON) * DAY,
        }
        for number, market in enumerate(lived)
        for day in days
    ]


async def learned(api: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    """Return the distance that was learned."""
    started = await api.post("/v1/distances", json=asked)
    assert started.status_code == 202, started.text
    path = f"/v1/distances/{started.json()['id']}"
    while True:
        found: dict[str, Any] = (await api.get(path, params={"as_of": 4e9})).json()
        if found["status"] not in {"queued", "running"}:
            return found
        await asyncio.sleep(0.05)


async def store_all(api: httpx.AsyncClient, memories: list[dict[str, Any]]) -> None:
    for first in range(0, len(memories), 1000):
        await store(api, memories[first : first + 1000])


@pytest.fixture
async def market(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service whose agent lived through the first part of a market with a strong signal."""
    async with running_service(settings.model_copy(update={"dimension": DIMENSION})) as api:
        await store_all(api, moments("a", range(CUT)))
        yield api


async def test_from_learning_to_promotion_and_back(
    market: httpx.AsyncClient, settings: Settings
) -> None:
    asked = {"agent_id": "a", "as_of": AS_OF, "names": NAMES}
    found = await learned(market, **asked)
    assert found["status"] == "done", found
    distance = found["distance"]
    name = distance["id"]
    assert distance["known_at"] == AS_OF
    assert distance["memories"] == 2 * CUT // HORIZON
    assert distance["explained"] > 0.1
    heaviest = [feature["index"] for feature in distance["features"][:4]]
    assert set(heaviest) <= set(range(INFORMATIVE))
    assert distance["features"][0]["name"] == NAMES[heaviest[0]]
    assert sum(distance["weights"]) == pytest.approx(1.0)

    state = moments("a", range(CUT, CUT + 1))[0]["state_vector"]
    question = {"agent_id": "a", "state_vector": state, "top_k": 20, "as_of": AS_OF}
    before = [await answer(market, path, question, name) for path in ("search", "estimate")]
    assert before[0]["exact"] is True
    weights = np.array(distance["weights"]) / np.array(distance["spread"]) ** 2 / 2
    lived = moments("a", range(CUT - HORIZON + 1))
    away = np.array([one["state_vector"] for one in lived]) - np.array(state)
    nearest = np.argsort((away**2) @ weights)[:20]
    assert [hit["id"] for hit in before[0]["memories"]] == [lived[i]["id"] for i in nearest]

    # What comes later changes neither the distance nor what is found by it.
    await store_all(market, moments("a", range(CUT, DAYS)))
    await market.patch("/v1/episodic/a/p0d5", json={"priority": 3.0, "quality": 0.1})
    assert settings.redis_url is not None
    async with Redis.from_url(settings.redis_url.get_secret_value(), protocol=2) as client:
        await client.hset(keys.RETIREMENTS, "purged:a", AS_OF + 1)
        again = (await learned(market, **asked))["distance"]
        await client.hdel(keys.RETIREMENTS, "purged:a")
    assert again["weights"] == distance["weights"]
    assert (distance["whole_since"], again["whole_since"]) == (None, AS_OF + 1)
    after = [await answer(market, path, question, name) for path in ("search", "estimate")]
    assert after == before

    # A question as of a moment before is refused, in every route that takes a metric.
    early = {**question, "as_of": AS_OF - 1, "metric": name}
    for path in ("search", "estimate"):
        refused = await market.post(f"/v1/episodic/{path}", json=early)
        assert (refused.status_code, refused.json()["code"]) == (422, "metric_from_the_future")
    for more in ({"as_of": AS_OF - 1}, {"since": AS_OF - 1}):
        body = {"agent_id": "a", "metric": name, **more}
        refused = await market.post("/v1/evaluate", json=body)
        assert refused.json()["code"] == "metric_from_the_future"
    told_later = {**question, "recorded_by": AS_OF, "metric": name}
    refused = await market.post("/v1/episodic/search", json=told_later)
    assert refused.json()["code"] == "metric_from_the_future"
    hidden = await market.get(f"/v1/distances/{name}", params={"as_of": AS_OF - 1})
    assert hidden.json()["code"] == "metric_not_found"

    # Nothing is promoted without a proof on later data.
    promotion = f"/v1/distances/{name}/promotion"
    plain = await finished(market, agent_id="a", since=AS_OF, top_k=20)
    refused = await market.put(promotion, json={"evaluation_id": plain["id"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "promotion_refused")
    of_other = await finished(market, agent_id="a", metric=again["id"], top_k=20)
    refused = await market.put(promotion, json={"evaluation_id": of_other["id"]})
    assert refused.json()["code"] == "promotion_refused"
    few = await finished(market, agent_id="a", metric=name, until=AS_OF + 30 * DAY)
    refused = await market.put(promotion, json={"evaluation_id": few["id"]})
    assert "unproven" in refused.json()["detail"]
    proof = await finished(market, agent_id="a", metric=name, top_k=20)
    assert (proof["result"]["verdict"], proof["result"]["since"]) == ("helps", AS_OF)
    value = proof["result"]["findings"][0]["value"]
    gain = proof["result"]["gain"]
    assert gain["low"] < gain["value"] < gain["high"]
    assert gain["value"] > 0
    without = plain["result"]["findings"][0]["value"]
    assert gain["value"] == pytest.approx(value - without, abs=1e-9)
    assert plain["result"]["gain"] is None

    # Promoted, it is what `promoted` means from now on, and for no earlier moment.
    now = {key: value for key, value in question.items() if key != "as_of"}
    assert "metric" not in await answer(market, "search", now, "promoted")
    done = await market.put(promotion, json={"evaluation_id": proof["id"]})
    assert done.status_code == 200, done.text
    assert (await answer(market, "search", now, "promoted"))["metric"] == name
    assert "metric" not in await answer(market, "search", question, "promoted")
    assert "metric" not in await answer(market, "search", now, None)
    listed = (await market.get("/v1/distances", params={"agent_id": "a"})).json()["distances"]
    assert [(one["id"], one["promoted"]) for one in listed] == [(again["id"], False), (name, True)]
    assert (await market.delete(promotion)).json()["promoted"] is False
    assert "metric" not in await answer(market, "search", now, "promoted")
    assert (await market.delete(promotion)).status_code == 404

    # It goes with its agent, and so does its promotion.
    await market.put(promotion, json={"evaluation_id": proof["id"]})
    body = {"agent_id": "a", "dry_run": False}
    assert (await market.post("/v1/episodic/delete", json=body)).json()["deleted"] == 2 * DAYS
    assert "metric" not in await answer(market, "search", now, "promoted")
    assert (await market.get(f"/v1/distances/{name}")).status_code == 404
    await store_all(market, moments("a", range(3)))
    assert (await market.get(f"/v1/distances/{name}")).status_code == 404
    assert settings.redis_url is not None
    async with Redis.from_url(settings.redis_url.get_secret_value()) as redis:
        assert await redis.exists("episodic_distances:{a}") == 0
        kept = await redis.lrange("episodic_promotions", 0, -1)
        assert not [one for one in kept if b'"a"' in one]
    refused = await market.post("/v1/distances", json={"agent_id": "a", "names": ["x"]})
    assert refused.json()["field"] == "names"
    short = await learned(market, agent_id="a")
    assert (short["status"], short["problem"]["code"]) == ("failed", "invalid_input")


async def answer(
    api: httpx.AsyncClient, path: str, question: dict[str, Any], metric: str | None
) -> dict[str, Any]:
    """Return the answer, but for what differs from call to call."""
    body = question if metric is None else {**question, "metric": metric}
    found = await api.post(f"/v1/episodic/{path}", json=body)
    assert found.status_code == 200, found.text
    told: dict[str, Any] = found.json()
    for passing in ("took_ms", "cached"):
        del told[passing]
    for hit in told["memories"]:
        if isinstance(hit, dict):
            hit.pop("recorded_at")
    return told


async def test_no_signal_gives_no_distance(market: httpx.AsyncClient) -> None:
    await store_all(market, moments("b", range(CUT), snr=0.0))
    found = await learned(market, agent_id="b", as_of=AS_OF)
    assert (found["status"], found["distance"], found["memories"]) == (
        "done",
        None,
        2 * CUT // HORIZON,
    )


async def test_a_key_uses_the_distances_of_its_own_agent(
    settings: Settings, tmp_path: Path
) -> None:
    chosen = settings.model_copy(update={"dimension": DIMENSION})
    async with keyed_service(with_keys(chosen, tmp_path)) as service:
        one = await service.caller("write", ["one"])
        two = await service.caller("write", ["two"])
        reader = await service.caller("read", ["one"])
        past = await service.caller("read", ["one"], require_as_of=True)
        await store_all(one, moments("one", range(CUT)))
        name = (await learned(one, agent_id="one", as_of=AS_OF))["distance"]["id"]
        other = await two.post("/v1/distances", json={"agent_id": "one"})
        assert (other.status_code, other.json()["code"]) == (403, "agent_forbidden")
        may_not = await reader.post("/v1/distances", json={"agent_id": "one"})
        assert (may_not.status_code, may_not.json()["code"]) == (403, "role_forbidden")
        for method in ("GET", "DELETE"):
            hidden = await two.request(method, f"/v1/distances/{name}")
            assert (hidden.status_code, hidden.json()["code"]) == (404, "metric_not_found")
        state = moments("one", range(1))[0]["state_vector"]
        body = {"agent_id": "two", "state_vector": state, "metric": name}
        assert (await two.post("/v1/episodic/search", json=body)).status_code == 404
        promoted = await one.put(f"/v1/distances/{name}/promotion", json={"evaluation_id": "x"})
        assert (promoted.status_code, promoted.json()["code"]) == (403, "role_forbidden")
        assert (await past.get(f"/v1/distances/{name}")).json()["field"] == "as_of"
        assert (await past.get("/v1/distances", params={"agent_id": "one"})).status_code == 422
        assert (await one.delete(f"/v1/distances/{name}")).status_code == 200
        assert (await one.get(f"/v1/distances/{name}")).status_code == 404
