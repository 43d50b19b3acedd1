"""Concepts as of a moment: what was known then, as it was then."""

import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app.settings import Settings
from tests.conftest import running_service
from tests.kit.fakes import ManualClock

Vector = Callable[[int], list[float]]


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[tuple[httpx.AsyncClient, ManualClock]]:
    clock = ManualClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.service.time", SimpleNamespace(time=clock))
        chosen = settings.model_copy(update={"semantic_history_changes": 3})
        async with running_service(chosen) as client:
            yield client, clock


def concept(vector: Vector, name: str, sharpe_ratio: float) -> dict[str, Any]:
    return {
        "id": name,
        "memory_type": "PATTERN",
        "regime_name": "bull",
        "concept_vector": vector(1),
        "sharpe_ratio": sharpe_ratio,
        "win_rate": 0.5,
    }


async def seen(
    api: httpx.AsyncClient, vector: Vector, as_of: float, **conditions: Any
) -> dict[str, float]:
    """Sharpe ratios by id, as search, query and GET tell them; they must agree."""
    known = {"as_of": as_of, **conditions}
    body = {"concept_vector": vector(1), "top_k": 100, "exact": True} | known
    found = (await api.post("/v1/semantic/search", json=body)).json()["memories"]
    ratios = {m["id"]: m["sharpe_ratio"] for m in found}
    assert len(found) == len(ratios)
    listed: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await api.post("/v1/semantic/query", json=known | {"limit": 1, "cursor": cursor})
        listed += page.json()["memories"]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
    assert page.json()["total"] == len(listed)
    expected = sorted(ratios.values(), reverse=True)
    assert [m["sharpe_ratio"] for m in listed] == expected
    assert {m["id"] for m in listed} == set(ratios)
    for m in (*found, *listed):
        assert (m["access_count"], m["last_accessed"]) == (None, None)
        one = await api.get(f"/v1/semantic/{m['id']}", params={"as_of": as_of})
        assert one.json()["sharpe_ratio"] == m["sharpe_ratio"]
        assert len(one.json()["concept_vector"]) == len(vector(1))
    return ratios


async def test_every_moment_is_answered_as_it_was(
    service: tuple[httpx.AsyncClient, ManualClock], vector: Vector
) -> None:
    api, clock = service
    truth: list[tuple[float, dict[str, float]]] = [(clock.now_s, {})]
    current: dict[str, float] = {}
    for step, (name, ratio) in enumerate(
        [("a", 1.0), ("b", 2.0), ("a", 3.0), ("a", 0.5), ("c", 1.5), ("b", -1.0)]
    ):
        clock.advance(1.0)
        if name in current:
            change = {"sharpe_ratio": ratio, "metadata": {"step": step}}
            assert (await api.patch(f"/v1/semantic/{name}", json=change)).is_success
        else:
            stored = concept(vector, name, ratio)
            assert (await api.post("/v1/semantic", json=stored)).status_code == 201
        current[name] = ratio
        truth.append((clock.now_s, dict(current)))
        truth.append((clock.now_s + 0.5, dict(current)))
    for as_of, known in truth:
        assert await seen(api, vector, as_of) == known
        good = {name: ratio for name, ratio in known.items() if ratio >= 1.0}
        assert await seen(api, vector, as_of, min_sharpe_ratio=1.0) == good
        for name in set(current) - set(known):
            absent = await api.get(f"/v1/semantic/{name}", params={"as_of": as_of})
            assert absent.status_code == 404
    counted = (await api.get("/v1/semantic/a")).json()["access_count"]
    assert counted == 0, "a backtest does not count"


async def test_the_past_is_bounded_and_goes_with_its_concept(
    service: tuple[httpx.AsyncClient, ManualClock], vector: Vector, redis: Redis
) -> None:
    api, clock = service
    for name in ("a", "b"):
        await api.post("/v1/semantic", json=concept(vector, name, 0.0))
        for change in range(5):
            clock.advance(1.0)
            await api.patch(f"/v1/semantic/{name}", json={"sharpe_ratio": change + 1.0})
    former = await redis.keys("semantic_history:*")
    assert len(former) == 6, "three of each"
    for key in former:
        assert 0 < await redis.ttl(key) <= 365 * 86_400
    # What is no longer kept is not answered with something later.
    assert await seen(api, vector, clock.now_s - 9.0) == {}
    assert (await api.delete("/v1/semantic/a")).status_code == 204
    assert len(await redis.keys("semantic_history:*")) == 3
    deleted = await api.post("/v1/semantic/delete", json={"dry_run": False})
    assert deleted.json()["deleted"] == 1
    assert await redis.keys("semantic_history:*") == []


async def test_counters_of_the_past_cannot_be_asked_for(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    refusals: list[tuple[str, dict[str, Any], str]] = [
        ("search", {"concept_vector": vector(1), "min_access_count": 1}, "as_of"),
        ("query", {"sort_by": "access_count"}, "sort_by"),
    ]
    for path, extra, field in refusals:
        refused = await api.post(f"/v1/semantic/{path}", json=extra | {"as_of": 1.0})
        assert (refused.status_code, refused.json()["field"]) == (422, field)


async def test_a_backtest_sees_no_present_concept(settings: Settings, vector: Vector) -> None:
    async with running_service(settings.model_copy(update={"require_as_of": True})) as api:
        assert (await api.post("/v1/semantic", json=concept(vector, "a", 1.0))).is_success
        calls: list[tuple[str, str, dict[str, Any] | None]] = [
            ("POST", "/v1/semantic/search", {"concept_vector": vector(1)}),
            ("POST", "/v1/semantic/query", {}),
            ("POST", "/v1/semantic/delete", {}),
            ("POST", "/v1/retention", {}),
            ("PATCH", "/v1/semantic/a", {"sharpe_ratio": 2.0}),
            ("GET", "/v1/semantic/a", None),
        ]
        for method, path, body in calls:
            refused = await api.request(method, path, json=body)
            assert (refused.status_code, refused.json()["field"]) == (422, "as_of"), path
        assert (await api.get("/v1/semantic/a", params={"as_of": 4e9})).status_code == 200


async def test_what_retention_removed_was_there_before(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    """Two concepts alike, of which one did badly later: at their beginning both are found."""
    for name, sharpe_ratio in (("winner", 3.0), ("loser", 0.1)):
        body = {
            "id": name,
            "memory_type": "PATTERN",
            "regime_name": "bull",
            "concept_vector": vector(1),
            "sharpe_ratio": sharpe_ratio,
            "win_rate": 0.5,
        }
        assert (await api.post("/v1/semantic", json=body)).status_code == 201
    before = time.time()
    rules = {"dry_run": False, "semantic": {"min_age_days": 0, "keep_sharpe_ratio_above": 1.0}}
    removed = (await api.post("/v1/retention", json=rules)).json()
    assert removed["semantic"]["deleted"] == 1
    asked = {"concept_vector": vector(1), "top_k": 5}
    for as_of, names in ((before, {"winner", "loser"}), (time.time() + 1, {"winner"})):
        found = await api.post("/v1/semantic/search", json=asked | {"as_of": as_of})
        assert {m["id"] for m in found.json()["memories"]} == names
    now = (await api.post("/v1/semantic/search", json=asked)).json()
    assert {m["id"] for m in now["memories"]} == {"winner"}
