"""Questions of what was known at a moment: nothing later exists for them."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.conftest import running_service

Vector = Callable[[int], list[float]]
DAY = 86_400.0
START = 1_700_000_000.0


def memory(day: int, vector: Vector, **fields: Any) -> dict[str, Any]:
    """A state of this day whose outcome is known a day later."""
    return {
        "id": f"m{day}",
        "agent_id": "a",
        "product_id": "p",
        "regime": "r",
        "action": "buy",
        "reward": float(day),
        "timestamp": START + day * DAY,
        "outcome_at": START + (day + 1) * DAY,
        "state_vector": vector(day),
        **fields,
    }


async def store(api: httpx.AsyncClient, *memories: dict[str, Any]) -> None:
    answer = await api.post("/v1/episodic/batch", json={"memories": list(memories)})
    assert answer.json()["failed"] == 0, answer.text


async def found(api: httpx.AsyncClient, vector: Vector, as_of: float) -> set[str]:
    """What search, search/batch and query find; they must agree."""
    question = {"agent_id": "a", "state_vector": vector(0), "top_k": 100, "as_of": as_of}
    single = (await api.post("/v1/episodic/search", json=question)).json()["memories"]
    batch = await api.post("/v1/episodic/search/batch", json={"searches": [question]})
    page = await api.post("/v1/episodic/query", json={"agent_id": "a", "as_of": as_of})
    ids = {m["id"] for m in single}
    assert ids == {m["id"] for m in batch.json()["results"][0]["memories"]}
    assert ids == {m["id"] for m in page.json()["memories"]}
    assert page.json()["total"] == len(ids)
    return ids


async def test_only_what_was_known_exists(api: httpx.AsyncClient, vector: Vector) -> None:
    await store(api, *(memory(day, vector) for day in range(5)))
    assert await found(api, vector, START) == set()
    assert await found(api, vector, START + 2 * DAY - 0.25) == {"m0"}
    assert await found(api, vector, START + 2 * DAY) == {"m0", "m1"}
    assert await found(api, vector, START + 9 * DAY) == {f"m{day}" for day in range(5)}


async def test_an_outcome_before_the_moment_of_storing_needs_a_timestamp(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    """A memory stored without `timestamp` is of now: what came of it was not known before."""
    late = memory(0, vector)
    del late["timestamp"]
    refused = await api.post("/v1/episodic", json=late)
    batch = await api.post("/v1/episodic/batch", json={"memories": [late, memory(1, vector)]})
    assert (refused.status_code, refused.json()["field"]) == (422, "outcome_at")
    assert batch.json()["results"][0]["error"]["field"] == "outcome_at"
    assert await found(api, vector, 4e9) == {"m1"}


async def test_open_memories_do_not_exist_and_closing_counts_from_its_moment(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    opened = memory(0, vector)
    del opened["reward"], opened["outcome_at"]
    await store(api, opened)
    assert await found(api, vector, 4e9) == set()
    outcome = {"reward": 1.0, "outcome_at": START + 3 * DAY}
    assert (await api.post("/v1/episodic/a/m0/outcome", json=outcome)).is_success
    assert await found(api, vector, START + 3 * DAY - 1) == set()
    assert await found(api, vector, START + 3 * DAY) == {"m0"}


async def test_an_answer_of_another_moment_is_not_handed_out(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    await store(api, *(memory(day, vector) for day in range(3)))
    question = {"agent_id": "a", "state_vector": vector(0), "top_k": 10}
    for as_of, count in [(START + DAY, 1), (START + 2 * DAY, 2), (None, 3), (START + DAY, 1)]:
        answer = await api.post("/v1/episodic/search", json=question | {"as_of": as_of})
        assert answer.json()["count"] == count


async def test_read_by_id(api: httpx.AsyncClient, vector: Vector) -> None:
    await store(api, memory(0, vector))
    early, late = {"as_of": START + DAY - 1}, {"as_of": START + DAY}
    assert (await api.get("/v1/episodic/a/m0", params=early)).status_code == 404
    assert (await api.get("/v1/episodic/a/m0", params=late)).status_code == 200
    wrong = await api.get("/v1/episodic/a/m0", params={"as_of": "x"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "as_of")


async def test_hours_end_at_the_moment(api: httpx.AsyncClient, vector: Vector) -> None:
    await store(api, *(memory(day, vector) for day in range(5)))
    window = {"agent_id": "a", "as_of": START + 4 * DAY, "hours": 49}
    page = await api.post("/v1/episodic/query", json=window)
    assert {m["id"] for m in page.json()["memories"]} == {"m2", "m3"}


async def test_delete_touches_only_what_was_known(api: httpx.AsyncClient, vector: Vector) -> None:
    await store(api, *(memory(day, vector) for day in range(5)))
    wanted = {"agent_id": "a", "as_of": START + 2 * DAY, "dry_run": False}
    assert (await api.post("/v1/episodic/delete", json=wanted)).json()["deleted"] == 2
    assert await found(api, vector, 4e9) == {"m2", "m3", "m4"}


async def test_another_outcome_is_refused_without_telling_the_known_one(
    api: httpx.AsyncClient, vector: Vector
) -> None:
    await store(api, memory(0, vector, reward=0.123456))
    refused = await api.post("/v1/episodic/a/m0/outcome", json={"reward": 1.0})
    assert refused.status_code == 409
    assert "0.123456" not in refused.text


@pytest.fixture
async def backtest(settings: Settings) -> Any:
    async with running_service(settings.model_copy(update={"require_as_of": True})) as client:
        yield client


QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/episodic/search", {"agent_id": "a", "state_vector": [1.0] * 8}),
    ("/v1/episodic/query", {"agent_id": "a"}),
    ("/v1/episodic/delete", {"agent_id": "a"}),
]


@pytest.mark.parametrize(("path", "body"), QUESTIONS)
async def test_a_backtest_must_name_the_moment(
    backtest: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    refused = await backtest.post(path, json=body)
    assert (refused.status_code, refused.json()["field"]) == (422, "as_of")
    assert (await backtest.post(path, json=body | {"as_of": START})).status_code == 200


async def test_a_backtest_reads_by_id_and_in_batches_with_a_moment(
    backtest: httpx.AsyncClient, vector: Vector
) -> None:
    await store(backtest, memory(0, vector))
    refused = await backtest.get("/v1/episodic/a/m0")
    assert (refused.status_code, refused.json()["field"]) == (422, "as_of")
    question = {"agent_id": "a", "state_vector": vector(0)}
    searches = [question, question | {"as_of": START + DAY}]
    batch = await backtest.post("/v1/episodic/search/batch", json={"searches": searches})
    refusal, answer = batch.json()["results"]
    assert (refusal["status"], refusal["field"]) == (422, "as_of")
    assert answer["count"] == 1
