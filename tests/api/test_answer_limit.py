"""Answers are bounded in bytes, whatever asks for them."""

from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.conftest import DIMENSION, running_service

LIMIT = 1024 * 1024
VECTOR = [1.0, *[0.0] * (DIMENSION - 1)]
QUESTION = {"agent_id": "a", "state_vector": VECTOR, "top_k": 1000}
COUNT = 100
SIZE = 15_000


async def test_no_answer_is_larger_than_the_limit(settings: Settings) -> None:
    memory = {
        "agent_id": "a",
        "product_id": "p",
        "regime": "r",
        "reward": 1.0,
        "state_vector": VECTOR,
        "metadata": {"note": "x" * SIZE},
    }
    concept = {
        "memory_type": "PATTERN",
        "regime_name": "r",
        "concept_vector": VECTOR,
        "sharpe_ratio": 1.0,
        "win_rate": 0.5,
        "metadata": {"note": "x" * SIZE},
    }
    async with running_service(settings.model_copy(update={"max_answer_bytes": LIMIT})) as api:
        await api.post("/v1/episodic/batch", json={"memories": [memory] * COUNT})
        await api.post("/v1/semantic/batch", json={"memories": [concept] * COUNT})

        for path, body, field in (
            ("/v1/episodic/search", QUESTION, "top_k"),
            ("/v1/episodic/query", {"agent_id": "a", "limit": 1000}, "limit"),
            ("/v1/episodic/sample", {"agent_id": "a", "size": 1000}, "size"),
            ("/v1/semantic/search", {"concept_vector": VECTOR, "top_k": 1000}, "top_k"),
            ("/v1/semantic/query", {"limit": 1000}, "limit"),
        ):
            await _is_refused(api, path, body, field)
            fits = await api.post(path, json=body | {field: LIMIT // (2 * SIZE)})
            assert fits.is_success, "asking for fewer is the way out"
            assert LIMIT // 3 < len(fits.content) < LIMIT

        few = QUESTION | {"top_k": 10}
        answer = await api.post("/v1/episodic/search/batch", json={"searches": [few] * 64})
        results = answer.json()["results"]
        refused = [r for r in results if r.get("code") == "answer_too_large"]
        assert len(answer.content) < LIMIT * 1.1
        assert 0 < len(refused) < 64, "what fits is answered"
        assert str(LIMIT) in refused[0]["detail"]
        assert all(r["count"] == 10 for r in results if r not in refused)


async def _is_refused(api: httpx.AsyncClient, path: str, body: Any, field: str) -> None:
    answer = await api.post(path, json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (
        422,
        "answer_too_large",
        field,
    )
    assert str(LIMIT) in problem["detail"]
    assert problem["retryable"] is False


@pytest.mark.parametrize("path", ["/v1/episodic/search", "/v1/episodic/sample"])
async def test_vectors_beyond_the_limit_are_refused_before_they_are_read(
    settings: Settings, path: str
) -> None:
    wide = settings.model_copy(update={"max_answer_bytes": LIMIT, "dimension": 1024})
    async with running_service(wide) as api:
        body = {"agent_id": "a", "include_vectors": True}
        if path.endswith("search"):
            body |= {"state_vector": [1.0] * 1024, "top_k": 100}
        else:
            body |= {"size": 100}
        answer = await api.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "answer_too_large")
