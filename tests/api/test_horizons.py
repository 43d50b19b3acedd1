"""Outcomes at several horizons: each is known at its own time, posted together or one by one."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.api.test_episodic_search import cosine_distance

Vector = Callable[[int], list[float]]
T0 = 1_700_000_000.0
DAY = 86_400.0


def outcome(days: int, reward: float, start: float) -> dict[str, Any]:
    return {"horizon": f"{days}d", "reward": reward, "outcome_at": start + days * DAY}


def moment(i: int, vector: Vector, **fields: Any) -> dict[str, Any]:
    start = T0 + 30 * DAY * i
    return {
        "id": f"m{i}",
        "agent_id": "a",
        "product_id": "P",
        "regime": "r",
        "action": "buy",
        "state_vector": vector(i),
        "timestamp": start,
        "reward": 5.0 + i,
        "outcome_at": start + 5 * DAY,
        "outcomes": [outcome(1, 1.0 + i, start), outcome(20, 20.0 + i, start)],
        **fields,
    }


async def post(api: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await api.post(f"/v1/episodic{path}", json=body)
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_each_outcome_is_known_at_its_own_time(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    stored = [moment(i, vector) for i in range(12)]
    await post(api, "/batch", {"memories": stored})
    asked = {"agent_id": "a", "state_vector": vector(99), "top_k": 5}
    for days, offset in (("1d", 1.0), ("20d", 20.0), (None, 5.0)):
        for as_of in (T0 + 2 * DAY, T0 + 95 * DAY, T0 + 1000 * DAY):
            known = [
                m
                for m in stored
                if as_of
                >= (m["outcome_at"] if days is None else m["timestamp"] + int(days[:-1]) * DAY)
            ]
            known.sort(key=lambda m: cosine_distance(m["state_vector"], vector(99)))
            ids = [m["id"] for m in known[:5]]
            body = asked | {"as_of": as_of} | ({} if days is None else {"horizon": days})
            hits = (await post(api, "/search", body))["memories"]
            estimated = await post(api, "/estimate", body)
            assert [hit["id"] for hit in hits] == ids
            assert estimated["memories"] == ids
            for hit in hits:
                assert all(o["outcome_at"] <= as_of for o in hit.get("outcomes", []))
                assert hit["outcome_at"] is None or hit["outcome_at"] <= as_of
            if ids:
                (action,) = estimated["actions"]
                rewards = [offset + int(name[1:]) for name in ids]
                assert min(rewards) <= action["value"] <= max(rewards)


async def test_outcomes_come_one_after_another(api: httpx.AsyncClient, vector: Vector) -> None:
    opened = moment(0, vector)
    for name in ("reward", "outcome_at", "outcomes"):
        del opened[name]
    await post(api, "", opened)
    first, second = outcome(1, 0.1, T0), outcome(20, 0.2, T0) | {"mae": -0.3, "mae_at": T0 + DAY}
    path = "/a/m0/outcome"
    one = await post(api, path, {"outcomes": [first]})
    assert (one["changed"], one["reward"]) == (True, None)
    assert (await post(api, path, {"outcomes": [first]}))["changed"] is False
    both = await post(api, path, {"reward": 0.5, "outcome_at": T0 + 5 * DAY, "outcomes": [second]})
    assert [o["horizon"] for o in both["outcomes"]] == ["1d", "20d"]
    assert both["outcomes"][1]["mae"] == -0.3
    other = await api.post(f"/v1/episodic{path}", json={"outcomes": [first | {"reward": 9.0}]})
    assert (other.status_code, other.json()["code"]) == (409, "outcome_conflict")
    found = await post(
        api, "/estimate", {"agent_id": "a", "state_vector": vector(1), "horizon": "20d"}
    )
    assert [a["value"] for a in found["actions"]] == [0.2]


@pytest.mark.parametrize(
    ("outcomes", "field"),
    [
        ([{"horizon": "1d", "reward": 1.0, "outcome_at": T0 - 1}], "outcomes"),
        ([{"horizon": 5, "reward": 1.0, "outcome_at": T0}] * 2, "outcomes"),
        ([{"horizon": "1d", "reward": 1.0}], "outcomes.0.outcome_at"),
        ([], "outcomes"),
    ],
)
async def test_bad_outcomes(
    api: httpx.AsyncClient, vector: Vector, outcomes: list[dict[str, Any]], field: str
) -> None:
    refused = await api.post("/v1/episodic", json=moment(0, vector, outcomes=outcomes))
    assert (refused.status_code, refused.json()["field"]) == (422, field)


async def test_a_number_is_a_horizon_too(api: httpx.AsyncClient, vector: Vector) -> None:
    numbered = [{"horizon": 5, "reward": 0.7, "outcome_at": T0 + DAY}]
    await post(api, "", moment(0, vector, outcomes=numbered))
    body = {"agent_id": "a", "state_vector": vector(1), "horizon": 5.0}
    (hit,) = (await post(api, "/search", body))["memories"]
    assert hit["outcomes"] == numbered
    (action,) = (await post(api, "/estimate", body))["actions"]
    assert action["value"] == 0.7
