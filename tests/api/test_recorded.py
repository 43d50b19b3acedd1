"""When the service was told, beside when it was so: nothing of the future comes out of a change."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.conftest import running_service

Vector = Callable[[int], list[float]]
T0 = 1_700_000_000.0


@pytest.fixture
async def backtest(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A service where every question must name its moment."""
    async with running_service(settings.model_copy(update={"require_as_of": True})) as client:
        yield client


def moment(i: int, vector: Vector, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"m{i}",
        "agent_id": "a",
        "product_id": "P",
        "regime": "r",
        "action": "buy",
        "state_vector": vector(i),
        "timestamp": T0 + 100 * i,
        **fields,
    }


async def post(api: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await api.post(f"/v1/episodic{path}", json=body)
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_change_tells_nothing_where_a_moment_is_due(
    backtest: httpx.AsyncClient, vector: Vector
) -> None:
    closed = moment(0, vector, reward=-0.77, outcome_at=T0 + 1000, metadata={"secret": 1})
    await post(backtest, "", closed)
    await post(backtest, "", moment(1, vector))
    rated = await backtest.patch("/v1/episodic/a/m0", json={"priority": 1.0})
    again = await backtest.patch("/v1/episodic/a/m0", json={"priority": 1.0})
    outcome = await backtest.post(
        "/v1/episodic/a/m1/outcome", json={"reward": 0.3, "outcome_at": T0 + 900}
    )
    for answer, changed in ((rated, True), (again, False), (outcome, True)):
        assert answer.status_code == 200
        assert answer.json().keys() == {"id", "changed", "token", "durability"}
        assert answer.json()["changed"] is changed


async def test_what_was_told_later_is_left_out(api: httpx.AsyncClient, vector: Vector) -> None:
    """Stored, closed and rated now, each about an earlier time."""
    early = await post(api, "", moment(0, vector, reward=1.0, outcome_at=T0 + 10))
    assert early["created"]
    told_at = (await api.get("/v1/episodic/a/m0")).json()["recorded_at"]
    await post(api, "", moment(1, vector))
    by_then = (await api.get("/v1/episodic/a/m1")).json()["recorded_at"]
    await post(api, "", moment(2, vector, reward=1.0, outcome_at=T0 + 210))
    await post(api, "/a/m1/outcome", {"reward": 2.0, "outcome_at": T0 + 120})
    quality = {"quality": 0.9, "at": T0 + 300}
    assert (await api.patch("/v1/episodic/a/m0", json=quality)).status_code == 200
    as_of = T0 + 1000
    asked = {"agent_id": "a", "state_vector": vector(9), "as_of": as_of}
    for by, ids in ((told_at, {"m0"}), (by_then, {"m0"}), (None, {"m0", "m1", "m2"})):
        body = asked | ({} if by is None else {"recorded_by": by})
        hits = (await post(api, "/search", body))["memories"]
        assert {hit["id"] for hit in hits} == ids
        assert set((await post(api, "/estimate", body))["memories"]) == ids
        query = {"agent_id": "a", "as_of": as_of} | ({} if by is None else {"recorded_by": by})
        assert {m["id"] for m in (await post(api, "/query", query))["memories"]} == ids
        sampled = await post(api, "/sample", query)
        assert {m["id"] for m in sampled["memories"]} == ids
        rated = [hit for hit in hits if hit["id"] == "m0"]
        assert ("quality" in rated[0]) is (by is None)
        params = {"as_of": as_of} | ({} if by is None else {"recorded_by": by})
        one = await api.get("/v1/episodic/a/m1", params=params)
        assert one.status_code == (200 if by is None else 404)
    opened = await api.get("/v1/episodic/a/m1", params={"recorded_by": by_then})
    assert (opened.status_code, opened.json()["reward"]) == (200, None)


async def test_a_rating_is_of_the_moment_that_it_names(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    """So that a walk through the past can use priorities."""
    await post(api, "", moment(0, vector, reward=1.0, outcome_at=T0 + 10))
    await api.patch("/v1/episodic/a/m0", json={"priority": 7.0, "at": T0 + 50})
    for as_of, priority in ((T0 + 40, None), (T0 + 60, 7.0)):
        shown = (await api.get("/v1/episodic/a/m0", params={"as_of": as_of})).json()
        assert shown.get("priority") == priority
    refused = await api.patch("/v1/episodic/a/m0", json={"priority": 1.0, "at": 9e10})
    assert (refused.status_code, refused.json()["field"]) == (422, "at")
    await post(api, "", moment(1, vector))
    closed = await post(api, "/a/m1/outcome", {"reward": 1.0, "at": T0 + 500})
    assert closed["outcome_at"] == T0 + 500


async def test_a_question_of_now_says_that_it_met_the_future(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    await post(api, "", moment(0, vector, reward=1.0, outcome_at=9e10))
    await post(api, "", moment(1, vector, reward=1.0, outcome_at=T0 + 110))
    asked = {"agent_id": "a", "state_vector": vector(9), "distinct": "none"}
    for path in ("/search", "/estimate"):
        assert (await post(api, path, asked))["future_outcomes"] == 1
        assert "future_outcomes" not in await post(api, path, asked | {"as_of": T0 + 1000})
