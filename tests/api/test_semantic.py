"""Semantic memory over HTTP."""

from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.test_episodic_search import cosine_distance
from tests.conftest import DIMENSION


def concepts(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(11)
    return [
        {
            "id": f"c{i}",
            "memory_type": ["PATTERN", "REGIME", "STRATEGY"][i % 3],
            "regime_name": ["bull", "bear"][i % 2],
            "concept_vector": [float(x) for x in rng.normal(size=DIMENSION)],
            "sharpe_ratio": round(float(rng.normal()), 3),
            "win_rate": round(float(rng.uniform()), 3),
            "metadata": {"n": i},
        }
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("conditions", "keeps"),
    [
        ({}, lambda c: True),
        ({"memory_type": "PATTERN"}, lambda c: c["memory_type"] == "PATTERN"),
        ({"memory_type": ["PATTERN", "REGIME"]}, lambda c: c["memory_type"] != "STRATEGY"),
        ({"regime_name": "bull"}, lambda c: c["regime_name"] == "bull"),
        ({"min_sharpe_ratio": 0.5}, lambda c: c["sharpe_ratio"] >= 0.5),
        ({"min_win_rate": 0.5}, lambda c: c["win_rate"] >= 0.5),
        ({"min_access_count": 1000}, lambda c: False),  # the test's own searches count, too
    ],
)
async def test_search_with_filters_equals_brute_force(
    api: httpx.AsyncClient, conditions: dict[str, Any], keeps: Any
) -> None:
    stored = concepts(200)
    await api.post("/v1/semantic/batch", json={"memories": stored})
    question = [float(x) for x in np.random.default_rng(12).normal(size=DIMENSION)]
    answer = await api.post(
        "/v1/semantic/search",
        json={"concept_vector": question, "top_k": 12, "exact": True, **conditions},
    )
    ranked = sorted(
        (cosine_distance(c["concept_vector"], question), c["id"]) for c in stored if keeps(c)
    )
    body = answer.json()
    assert [m["id"] for m in body["memories"]] == [i for _, i in ranked[:12]]
    assert [m["distance"] for m in body["memories"]] == pytest.approx(
        [d for d, _ in ranked[:12]], abs=1e-5
    )
    assert body["exact"] is True


async def test_an_approximate_answer_says_so(api: httpx.AsyncClient) -> None:
    await api.post("/v1/semantic/batch", json={"memories": concepts(5)})
    answer = await api.post("/v1/semantic/search", json={"concept_vector": [1.0] * DIMENSION})
    assert answer.json()["exact"] is False
    assert answer.json()["count"] == 5


async def test_store_read_delete(api: httpx.AsyncClient) -> None:
    concept = concepts(1)[0]
    stored = await api.post("/v1/semantic", json=concept)
    assert stored.status_code == 201
    assert stored.json()["created"] is True

    read = (await api.get("/v1/semantic/c0")).json()
    assert read.pop("created_at") > 1.7e9
    assert np.allclose(read.pop("concept_vector"), concept.pop("concept_vector"))
    assert {k: read[k] for k in concept} == concept

    assert (await api.delete("/v1/semantic/c0")).status_code == 204
    assert (await api.get("/v1/semantic/c0")).status_code == 404
    assert (await api.delete("/v1/semantic/c0")).status_code == 404


async def test_same_id_same_content_is_unchanged_other_content_conflicts(
    api: httpx.AsyncClient,
) -> None:
    concept = concepts(1)[0]
    assert (await api.post("/v1/semantic", json=concept)).status_code == 201
    again = await api.post("/v1/semantic", json=concept)
    assert (again.status_code, again.json()["created"]) == (200, False)
    other = await api.post("/v1/semantic", json=concept | {"win_rate": 0.999})
    assert (other.status_code, other.json()["code"]) == (409, "content_conflict")
    assert (await api.get("/v1/semantic/c0")).json()["win_rate"] == concept["win_rate"]
