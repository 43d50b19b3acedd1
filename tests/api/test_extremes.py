"""Numbers, names and spellings at the ends of what is allowed, on the routes about agents."""

import asyncio
import json
from collections.abc import AsyncIterator
from fractions import Fraction
from typing import Any

import httpx
import numpy as np
import pytest

from app.settings import Settings
from tests.conftest import DIMENSION, running_service

T0 = 1_700_000_000.0


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    arms = {"arm_no_memory_share": 0.5}
    async with running_service(settings.model_copy(update=arms)) as client:
        yield client


def moment(number: int, **fields: Any) -> dict[str, Any]:
    state = np.random.default_rng(number).normal(size=DIMENSION)
    return {
        "id": str(number),
        "agent_id": "a",
        "product_id": "P",
        "regime": "r",
        "action": "buy",
        "state_vector": state.tolist(),
        "reward": float(number),
        "timestamp": T0 + 100 * number,
        "outcome_at": T0 + 100 * number + 50,
    } | fields


async def store(api: httpx.AsyncClient, memories: list[dict[str, Any]]) -> None:
    answer = await api.post("/v1/episodic/batch", json={"memories": memories})
    assert answer.json()["failed"] == 0, answer.text


async def post(api: httpx.AsyncClient, path: str, body: object) -> httpx.Response:
    """Post JSON that keeps the sign of zero."""
    headers = {"Content-Type": "application/json"}
    return await api.post(path, content=json.dumps(body), headers=headers)


def refuse_constant(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")


async def judged(api: httpx.AsyncClient, question: dict[str, Any]) -> dict[str, Any]:
    """Return the estimate of the one action, once the past that judges it is estimated too."""
    async with asyncio.timeout(60):
        while True:
            answer = await api.post("/v1/episodic/estimate", json=question)
            assert answer.status_code == 200, answer.text
            (found,) = json.loads(answer.text, parse_constant=refuse_constant)["actions"]
            if found["shrunk_value"] is not None:
                return dict(found)
            await asyncio.sleep(0.02)


async def test_the_past_of_huge_rewards(api: httpx.AsyncClient) -> None:
    signs = np.random.default_rng(1).uniform(-1.0, 1.0, 90)
    rewards = [1.7e308 * sign for sign in signs]
    await store(api, [moment(i, reward=reward, scale=1e-300) for i, reward in enumerate(rewards)])
    question = {"agent_id": "a", "state_vector": moment(1)["state_vector"], "top_k": 50}
    for asked in ({}, {"scaled": "true"}):
        answer = await api.get("/v1/calibration", params={"agent_id": "a"} | asked)
        assert answer.status_code == 200, answer.text
        assert answer.json()["n"] > 0
    for more in ({}, {"scale": 1e300}, {"scale": 1e-300}, {"distinct": "none"}):
        found = await judged(api, question | more)
        assert None not in (found["value"], found["baseline"]["value"])
    (regime,) = (await api.get("/v1/agents/a")).json()["regimes"]
    mean = float(sum(map(Fraction, rewards)) / 90)
    assert regime["mean_reward"] == pytest.approx(mean, rel=1e-10), (
        "twelve digits, of a cancelled sum"
    )
    started = await api.post("/v1/evaluate", json={"agent_id": "a", "placebos": 19})
    path = f"/v1/evaluate/{started.json()['id']}"
    while (found := (await api.get(path)).json())["status"] in {"queued", "running"}:
        await asyncio.sleep(0.05)
    assert found["status"] == "done"
    assert np.isfinite([one["effect"] for one in found["result"]["findings"]]).all()
    empty = {"agent_id": "a", "since": 2.0, "until": 1.0}
    assert (await api.post("/v1/evaluate", json=empty)).status_code == 422


async def test_times_have_all_their_digits(api: httpx.AsyncClient) -> None:
    await store(api, [moment(i, timestamp=T0 + 0.001 * i, outcome_at=T0 + 9) for i in range(5)])
    agent = (await api.get("/v1/agents/a")).json()
    assert agent["latest"] == T0 + 0.004
    stored = (await api.get("/v1/episodic/a/4")).json()
    assert agent["stored_at"] == stored["recorded_at"]
    growth = (await api.get("/v1/agents/a/growth", params={"by": "timestamp"})).json()
    assert (growth["times"][0], growth["times"][-1]) == (T0, T0 + 0.004)


async def test_positions_that_redis_does_not_know(api: httpx.AsyncClient) -> None:
    await store(api, [moment(1)])
    history = (await api.get("/v1/episodic/a/changes")).json()["next"].split(".")[1]
    for entry in ("99999999999999999999-0", "0-18446744073709551616", "\u0663-\u0660"):
        for position in (f"1.{history}.{entry}..", f"1.{history}.0-0.{entry}.{'a' * 12}"):
            answer = await api.get("/v1/episodic/a/changes", params={"after": position})
            assert answer.status_code == 422, answer.text
    cursor = f"\u0663~1.{history}.0-0.."
    answer = await api.get("/v1/episodic/a/snapshot", params={"cursor": cursor})
    assert answer.status_code == 422


async def test_zero_has_no_sign(api: httpx.AsyncClient) -> None:
    await store(api, [moment(i) for i in range(6)])
    for path, query in (
        ("/v1/episodic/query", {"agent_id": "a", "limit": 2}),
        ("/v1/episodic/sample", {"agent_id": "a", "size": 2, "seed": 1}),
    ):
        first = (await post(api, path, query | {"min_reward": 0.0})).json()
        more = {"min_reward": -0.0, "cursor": first["next_cursor"]}
        assert (await post(api, path, query | more)).status_code == 200
    arms = set()
    for i in range(20):
        pair = [
            (
                await post(
                    api,
                    "/v1/episodic/search",
                    {
                        "agent_id": "a",
                        "state_vector": [i + 1.0, zero, *[0.5] * (DIMENSION - 2)],
                        "recall": True,
                        "as_of": zero,
                    },
                )
            ).json()["arm"]
            for zero in (0.0, -0.0)
        ]
        assert pair[0] == pair[1]
        arms.add(pair[0])
    assert arms == {"memory", "no_memory"}


async def test_a_horizon_has_one_name(api: httpx.AsyncClient) -> None:
    later = {"reward": 1.0, "outcome_at": T0 + 3e6}
    outcomes = [
        {"horizon": 5, "reward": 0.0, "outcome_at": T0 + 200},
        {"horizon": 1_000_001, **later},
        {"horizon": 1_000_002, **later},
    ]
    one = moment(1, outcomes=outcomes)
    assert (await post(api, "/v1/episodic", one)).status_code == 201
    named = [*reversed(outcomes[1:]), {**outcomes[0], "horizon": "5", "reward": -0.0}]
    assert (await post(api, "/v1/episodic", one | {"outcomes": named})).status_code == 200
    told = {"outcomes": [{**outcomes[0], "horizon": "5", "mae": None}]}
    assert (await post(api, "/v1/episodic/a/1/outcome", told)).status_code == 200
    for number in range(2, 40):
        at = moment(number)["outcome_at"]
        five = {"horizon": 5, "reward": 0.1 * number, "outcome_at": at}
        await store(api, [moment(number, outcomes=[five])])
    counts = {
        spelled: (
            await api.get("/v1/calibration", params={"agent_id": "a", "horizon": spelled})
        ).json()["n"]
        for spelled in ("5", "5.0", "5e0")
    }
    assert len(set(counts.values())) == 1
    assert counts["5"] > 0


async def test_names_of_any_length_have_addresses(api: httpx.AsyncClient) -> None:
    agent = "ü/" + "a" * 126
    await store(api, [moment(1, agent_id=agent)])
    distance = f"{agent}:0123456789ab".replace("/", "%2F")
    answer = await api.get(f"/v1/distances/{distance}")
    assert (answer.status_code, answer.json()["code"]) == (404, "metric_not_found")
    assert (await api.get("/console/" + "x" * 300)).status_code == 404
    (found,) = (await api.get("/v1/stats", params={"agent_id": agent})).json()["agents"]
    assert found["memories"] == 1
