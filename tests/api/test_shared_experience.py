"""What agents share: by quality, up to an age, and how much they crowd on it."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from app.memory.swarm import FEW, CrossAnswers
from app.model import Answer, Hit
from app.settings import Settings
from tests.conftest import running_service

Vector = Callable[[int], list[float]]


def memory(name: str, agent_id: str, vector: Vector, **fields: Any) -> dict[str, Any]:
    return {
        "id": name,
        "agent_id": agent_id,
        "product_id": "p",
        "regime": "r",
        "reward": 1.0,
        "state_vector": vector(len(name)),
        **fields,
    }


async def store(api: httpx.AsyncClient, *memories: dict[str, Any]) -> None:
    answer = await api.post("/v1/episodic/batch", json={"memories": list(memories)})
    assert answer.json()["failed"] == 0, answer.text


async def found(api: httpx.AsyncClient, vector: Vector, **fields: Any) -> set[str]:
    body = {"agent_id": "me", "state_vector": vector(0), "top_k": 100, **fields}
    answer = await api.post("/v1/episodic/search", json=body)
    assert answer.status_code == 200, answer.text
    return {hit["id"] for hit in answer.json()["memories"]}


async def test_only_good_memories_of_others(api: httpx.AsyncClient, vector: Vector) -> None:
    await store(
        api,
        memory("good", "other", vector, quality=0.9),
        memory("bad", "other", vector, quality=0.2),
        memory("unrated", "other", vector),
        memory("mine", "me", vector),
    )
    assert await found(api, vector, scope="others", min_quality=0.7) == {"good"}
    assert await found(api, vector, scope="others") == {"good", "bad", "unrated"}
    page = await api.post("/v1/episodic/query", json={"agent_id": "other", "min_quality": 0.2})
    assert {m["id"] for m in page.json()["memories"]} == {"good", "bad"}


async def test_a_quality_is_given_once(api: httpx.AsyncClient, vector: Vector) -> None:
    await store(api, memory("m", "other", vector))
    path = "/v1/episodic/other/m"
    assert "quality" not in (await api.get(path)).json()
    first = (await api.patch(path, json={"quality": 0.8})).json()
    assert (first["quality"], first["changed"]) == (0.8, True)
    assert first["quality_at"] == pytest.approx(time.time(), abs=60)
    again = (await api.patch(path, json={"quality": 0.8})).json()
    assert (again["changed"], again["token"]) == (False, None)
    other = await api.patch(path, json={"quality": 0.1})
    assert (other.status_code, other.json()["code"]) == (409, "quality_conflict")
    assert await found(api, vector, scope="others", min_quality=0.8) == {"m"}
    stored = (await api.get(path)).json()
    assert {name: stored[name] for name in ("quality", "quality_at")} == {
        "quality": 0.8,
        "quality_at": first["quality_at"],
    }


async def test_a_later_rating_was_unknown_before(api: httpx.AsyncClient, vector: Vector) -> None:
    before = time.time()
    await store(api, memory("m", "other", vector, timestamp=before - 10, outcome_at=before - 5))
    body = {"quality": 0.9, "priority": 3.0}
    rated = (await api.patch("/v1/episodic/other/m", json=body)).json()
    then, now = before - 1, rated["quality_at"]
    for as_of, ids in [(then, set()), (now, {"m"})]:
        assert await found(api, vector, scope="others", min_quality=0.5, as_of=as_of) == ids
        one = (await api.get("/v1/episodic/other/m", params={"as_of": as_of})).json()
        assert ("quality" in one, "priority" in one) == ((True, True) if ids else (False, False))
        page = await api.post("/v1/episodic/query", json={"agent_id": "other", "as_of": as_of})
        assert ("quality_at" in page.json()["memories"][0]) == bool(ids)


async def test_a_rating_keeps_a_repeated_store_unchanged(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    sent = memory("m", "other", vector)
    assert (await api.post("/v1/episodic", json=sent)).status_code == 201
    await api.patch("/v1/episodic/other/m", json={"priority": 2.0})
    assert (await api.post("/v1/episodic", json=sent)).status_code == 200
    assert (await api.get("/v1/episodic/other/m")).json()["priority"] == 2.0


@pytest.fixture(params=["per_agent", "shared"])
async def forgetful(
    request: pytest.FixtureRequest, settings: Settings
) -> AsyncIterator[httpx.AsyncClient]:
    chosen = {"shared_max_age_days": 30.0, "layout": request.param}
    async with running_service(settings.model_copy(update=chosen)) as client:
        yield client


async def test_old_memories_are_not_shared(forgetful: httpx.AsyncClient, vector: Vector) -> None:
    now = time.time()
    month = 31 * 86_400
    await store(
        forgetful,
        memory("new", "other", vector, timestamp=now - 100, outcome_at=now - 50),
        memory("old", "other", vector, timestamp=now - month, outcome_at=now - month),
        memory("mine", "me", vector, timestamp=now - month, outcome_at=now - month),
    )
    assert await found(forgetful, vector, scope="others") == {"new"}
    assert await found(forgetful, vector, scope="all") == {"new", "mine"}
    assert await found(forgetful, vector) == {"mine"}
    then = now - 2 * 86_400
    assert await found(forgetful, vector, scope="others", as_of=then) == {"old"}


def answers(count: int, shared: int) -> CrossAnswers:
    """So many answers, of which the first few hold the same memory."""
    asked = CrossAnswers(time.time)
    for i in range(count):
        records = [b"shared"] if i < shared else []
        records += [b"%d-%d" % (i, j) for j in range(9)]
        hits = tuple(Hit(record, 0.1) for record in records)
        answer = Answer(hits, exact=True, partial=False, served_by="master")
        asked.note("recall", "one", answer)
    return asked


def test_crowding_is_the_share_that_leans_on_the_same_few() -> None:
    assert CrossAnswers(time.time).crowding() == 0
    # Each of the few most used that nobody shares stands for one answer.
    assert answers(1000, shared=500).crowding() == pytest.approx(0.5, abs=FEW / 1000)
    assert answers(1000, shared=1000).crowding() == 1
    assert answers(1000, shared=0).crowding() <= FEW / 1000
