"""What may have been stored can be repeated without storing it twice."""

import asyncio
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.conftest import DIMENSION, running_service

VECTOR = [1.0] * DIMENSION
MEMORY: dict[str, Any] = {
    "agent_id": "a",
    "product_id": "p",
    "regime": "r",
    "state_vector": VECTOR,
}
CONCEPT: dict[str, Any] = {
    "memory_type": "PATTERN",
    "regime_name": "r",
    "concept_vector": VECTOR,
    "sharpe_ratio": 1.0,
    "win_rate": 0.5,
}
FSYNCED = {"X-Durability": "fsynced"}


@pytest.fixture
def never_safe(settings: Settings) -> Settings:
    """Redis's disk is waited for too briefly: each write happens and is not confirmed."""
    return settings.model_copy(update={"durability_timeout_ms": 1})


@pytest.mark.parametrize(("route", "body"), [("episodic", MEMORY), ("semantic", CONCEPT)])
async def test_a_store_without_an_id_tells_the_one_that_was_made(
    never_safe: Settings, route: str, body: dict[str, Any]
) -> None:
    async with running_service(never_safe) as api:
        failed = await api.post(f"/v1/{route}", json=body, headers=FSYNCED)
        problem = failed.json()
        assert (failed.status_code, problem["code"]) == (503, "durability_not_reached")
        assert problem["retryable"] is False
        assert problem["id"] in problem["detail"]
        again = await api.post(f"/v1/{route}", json=body | {"id": problem["id"]})
        assert again.is_success
        listed = {"agent_id": "a"} if route == "episodic" else {}
        assert (await api.post(f"/v1/{route}/query", json=listed)).json()["total"] == 1


@pytest.mark.parametrize("route", ["episodic", "semantic"])
async def test_named_stores_are_retryable_and_nameless_batches_are_not(
    never_safe: Settings, route: str
) -> None:
    body = MEMORY if route == "episodic" else CONCEPT
    async with running_service(never_safe) as api:

        async def failed(path: str, json: object, **headers: str) -> dict[str, Any]:
            answer = await api.post(path, json=json, headers=FSYNCED | headers)
            assert answer.status_code == 503
            return dict(answer.json())

        path, key = f"/v1/{route}", {"Idempotency-Key": "k"}
        named, nameless = (
            {"memories": [body | {"id": "1"}]},
            {"memories": [body | {"id": "1"}, body]},
        )
        assert (await failed(path, body | {"id": "0"}))["retryable"] is True
        assert (await failed(path, body, **key))["retryable"] is True
        assert (await failed(f"{path}/batch", named, **key))["retryable"] is True
        told = await failed(f"{path}/batch", nameless)
        assert told["retryable"] is False
        assert "id" in told["detail"]


async def test_repeats_of_what_was_too_late_double_nothing(settings: Settings) -> None:
    """Each store is repeated as its problem says, until it is confirmed."""
    async with running_service(settings) as api:

        async def store(reward: int) -> int:
            body, tries = MEMORY | {"reward": reward}, 0
            while True:
                tries += 1
                brief = {"X-Deadline-Ms": "1"} if tries < 4 else {}
                answer = await api.post("/v1/episodic", json=body, headers=brief)
                if answer.is_success:
                    return tries
                problem = answer.json()
                assert problem["code"] == "deadline_exceeded"
                assert problem["retryable"] is ("id" not in problem)
                body |= {"id": problem["id"]} if "id" in problem else {}

        tries = [await asyncio.gather(*map(store, range(n, n + 20))) for n in range(0, 100, 20)]
        assert max(map(max, tries)) > 1, "some were too late"
        listed = await api.post("/v1/episodic/query", json={"agent_id": "a", "limit": 1000})
        assert listed.json()["total"] == 100


async def test_replicated_without_a_replica_is_refused_at_once(api: httpx.AsyncClient) -> None:
    for method, path, body in (
        ("POST", "/v1/episodic", MEMORY),
        ("POST", "/v1/semantic/batch", {"memories": [CONCEPT]}),
        ("DELETE", "/v1/episodic/a/1", None),
    ):
        answer = await api.request(method, path, json=body, headers={"X-Durability": "replicated"})
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (503, "durability_not_reached")
        assert problem["retryable"] is False
    listed = await api.post("/v1/episodic/query", json={"agent_id": "a"})
    assert listed.json()["total"] == 0


async def test_many_ratings_of_one_memory_all_go_in(api: httpx.AsyncClient) -> None:
    await api.post("/v1/episodic", json=MEMORY | {"id": "1"})
    answers = await asyncio.gather(
        *(api.patch("/v1/episodic/a/1", json={"priority": float(n)}) for n in range(30))
    )
    assert {answer.status_code for answer in answers} == {200}
