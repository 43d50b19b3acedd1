"""Names are what they look like: exact in case, never split, never syntax."""

from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.conftest import DIMENSION, running_service

NAMES = [
    *("BTC-USD", "a,b", "a", "b", "x|y", "x", "y", "*", '"', "'", "-", "ü€", "日本", "😀"),
    *("Bot1", "bot1", " a", "a ", "  ", "\\", "\\a", "a\\-b", "a-b", "$vector", "$", "a*", "*a"),
    *("{", "}", "{}", "@reward", "(", ")", "[1 2]", "%a%", "a b", "~a", "a:b", ".", "null", "%20"),
    *("a/b", "..", "#", "?x=1", "true", "@product_id:{x} | *", ") | (*", "á", "a\u0301", "\u200b"),
    *("_", "__", "a_", "_a"),
    "x" * 128,
]

VECTOR = [1.0] * DIMENSION


@pytest.mark.parametrize("field", ["product_id", "regime", "action"])
async def test_each_name_finds_exactly_itself(api: httpx.AsyncClient, field: str) -> None:
    base = {"agent_id": "agent", "product_id": "p", "regime": "r", "state_vector": VECTOR}
    batch = [base | {"id": f"m{i}", field: name} for i, name in enumerate(NAMES)]
    stored = await api.post("/v1/episodic/batch", json={"memories": batch})
    assert stored.json()["created"] == len(NAMES)

    for i, name in enumerate(NAMES):
        answer = await api.post(
            "/v1/episodic/search",
            json={"agent_id": "agent", "state_vector": VECTOR, "top_k": 1000, field: name},
        )
        found = [(m["id"], m[field]) for m in answer.json()["memories"]]
        assert found == [(f"m{i}", name)]

    answer = await api.post(
        "/v1/episodic/search",
        json={"agent_id": "agent", "state_vector": VECTOR, "top_k": 1000, field: NAMES},
    )
    assert answer.json()["count"] == len(NAMES)


@pytest.mark.parametrize("layout", ["per_agent", "shared"])
async def test_no_agent_sees_another(settings: Settings, layout: Any) -> None:
    agents = [name for name in NAMES if not set(name) & {"{", "}"} and name.strip(".")]
    async with running_service(settings.model_copy(update={"layout": layout})) as api:
        memory = {"product_id": "p", "regime": "r", "state_vector": VECTOR, "id": "same"}
        batch = [memory | {"agent_id": agent} for agent in agents]
        stored = await api.post("/v1/episodic/batch", json={"memories": batch})
        assert stored.json()["created"] == len(agents)
        for agent in agents:
            answer = await api.post(
                "/v1/episodic/search",
                json={"agent_id": agent, "state_vector": VECTOR, "top_k": 1000, "exact": True},
            )
            assert [m["agent_id"] for m in answer.json()["memories"]] == [agent]


async def test_names_with_slashes_work_in_paths(api: httpx.AsyncClient) -> None:
    memory = {"agent_id": "a/b", "id": "c/d", "product_id": "p", "regime": "r"}
    await api.post("/v1/episodic", json=memory | {"state_vector": VECTOR})

    found = await api.get("/v1/episodic/a%2Fb/c%2Fd")
    assert found.json()["id"] == "c/d"
    assert found.json()["state_vector"] == VECTOR
    assert (await api.delete("/v1/episodic/a%2fb/c%2fd")).status_code == 204
    assert (await api.get("/v1/episodic/a%2Fb/c%2Fd")).status_code == 404


async def test_concepts_are_told_apart_by_regime_name(api: httpx.AsyncClient) -> None:
    concept = {
        "memory_type": "REGIME",
        "concept_vector": VECTOR,
        "sharpe_ratio": 1.0,
        "win_rate": 0.5,
    }
    batch = [concept | {"id": f"c{i}", "regime_name": name} for i, name in enumerate(NAMES)]
    assert (await api.post("/v1/semantic/batch", json={"memories": batch})).json()["failed"] == 0
    for i, name in enumerate(NAMES):
        answer = await api.post(
            "/v1/semantic/search",
            json={"concept_vector": VECTOR, "regime_name": name, "top_k": 1000},
        )
        assert [m["id"] for m in answer.json()["memories"]] == [f"c{i}"]
