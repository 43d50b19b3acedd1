"""Retries are safe: the same store again is the same memory, other content is refused."""

import asyncio
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.conftest import DIMENSION, running_service

MEMORY: dict[str, Any] = {
    "agent_id": "a",
    "product_id": "BTC-USD",
    "regime": "bull",
    "state_vector": [1.0] * DIMENSION,
    "reward": 0.5,
}


async def test_same_id_again_is_the_same_memory(api: httpx.AsyncClient) -> None:
    first = await api.post("/v1/episodic", json=MEMORY | {"id": "x"})
    again = await api.post("/v1/episodic", json=MEMORY | {"id": "x"})
    assert (first.status_code, first.json()["created"]) == (201, True)
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert again.json()["id"] == "x"


@pytest.mark.parametrize(
    "change",
    [
        {"reward": 0.6},
        {"metadata": {"a": 1}},
        {"state_vector": [2.0] * DIMENSION},
        {"next_state_vector": [1.0] * DIMENSION},
        {"terminal": True},
        {"timestamp": 1.0},
    ],
)
async def test_other_content_under_an_id_is_refused(
    api: httpx.AsyncClient, change: dict[str, Any]
) -> None:
    await api.post("/v1/episodic", json=MEMORY | {"id": "x"})
    before = (await api.get("/v1/episodic/a/x")).json()
    other = await api.post("/v1/episodic", json=MEMORY | {"id": "x"} | change)
    assert (other.status_code, other.json()["code"]) == (409, "content_conflict")
    assert (await api.get("/v1/episodic/a/x")).json() == before


CONCEPT: dict[str, Any] = {
    "memory_type": "PATTERN",
    "regime_name": "bull",
    "concept_vector": [1.0, 0.0] + [1.0] * (DIMENSION - 2),
    "sharpe_ratio": 0.0,
    "win_rate": 1,
}


SAME: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("episodic", {}, {"terminal": False, "pinned": False, "metadata": {}}),
    ("episodic", {}, dict.fromkeys(["action", "next_state_vector", "quality", "priority"])),
    ("episodic", {}, dict.fromkeys(["timestamp", "outcome_at"])),
    ("episodic", {"terminal": False, "action": None, "metadata": {}}, {}),
    ("episodic", {"reward": 0.0}, {"reward": -0.0}),
    ("episodic", {"reward": 2}, {"reward": 2.0}),
    ("episodic", {"metadata": {"a": [1, 0.0]}}, {"metadata": {"a": [1.0, -0.0]}}),
    ("episodic", {"metadata": {"a": 2**60, "b": 1}}, {"metadata": {"b": 1e0, "a": 2.0**60}}),
    (
        "episodic",
        {"state_vector": [0.0] + [1.0] * (DIMENSION - 1)},
        {"state_vector": [-0.0] + [1] * (DIMENSION - 1)},
    ),
    ("semantic", {}, {"pinned": False, "metadata": {}}),
    ("semantic", {}, {"sharpe_ratio": -0.0, "win_rate": 1.0}),
    ("semantic", {}, {"concept_vector": [1, -0.0] + [1] * (DIMENSION - 2)}),
]
ALIKE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"metadata": {"a": 1}}, {"metadata": {"a": True}}),
    ({"metadata": {"a": 0}}, {"metadata": {"a": False}}),
    ({"metadata": {"a": None}}, {"metadata": {}}),
    ({"metadata": {"a": 2**60 + 1}}, {"metadata": {"a": 2.0**60}}),
    ({"metadata": {"a": 1}}, {"metadata": {"a": "1"}}),
    ({"quality": 0.0}, {"quality": None}),
]


async def test_the_same_content_written_otherwise_is_the_same_memory(
    api: httpx.AsyncClient,
) -> None:
    for number, (route, first, again) in enumerate(SAME):
        whole = {"id": f"x{number}", **(MEMORY if route == "episodic" else CONCEPT)}
        assert (await api.post(f"/v1/{route}", json=whole | first)).status_code == 201
        single = await api.post(f"/v1/{route}", json=whole | again)
        batch = await api.post(f"/v1/{route}/batch", json={"memories": [whole | again]})
        assert (single.status_code, single.json().get("created")) == (200, False), (first, again)
        assert batch.json()["results"][0]["status"] == "unchanged", (first, again)


async def test_content_that_only_looks_alike_is_told_apart(api: httpx.AsyncClient) -> None:
    for number, (first, again) in enumerate(ALIKE):
        whole = {"id": f"x{number}", **MEMORY}
        assert (await api.post("/v1/episodic", json=whole | first)).status_code == 201
        assert (await api.post("/v1/episodic", json=whole | again)).status_code == 409


async def test_idempotency_key_stands_for_an_id(api: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "trade-1"}
    first = await api.post("/v1/episodic", json=MEMORY, headers=headers)
    again = await api.post("/v1/episodic", json=MEMORY, headers=headers)
    other = await api.post("/v1/episodic", json=MEMORY | {"reward": 1.0}, headers=headers)
    someone_else = await api.post("/v1/episodic", json=MEMORY | {"agent_id": "b"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"] != someone_else.json()["id"]
    assert other.status_code == 409
    assert someone_else.status_code == 201


async def test_idempotency_key_covers_a_batch(api: httpx.AsyncClient) -> None:
    batch = {"memories": [MEMORY, MEMORY, MEMORY | {"reward": 2.0}]}
    headers = {"Idempotency-Key": "batch-1"}
    first = (await api.post("/v1/episodic/batch", json=batch, headers=headers)).json()
    again = (await api.post("/v1/episodic/batch", json=batch, headers=headers)).json()
    assert first["created"] == 3
    assert again["created"] == 0
    assert [r["status"] for r in again["results"]] == ["unchanged"] * 3
    assert [r["id"] for r in again["results"]] == [r["id"] for r in first["results"]]


async def test_same_id_twice_in_a_batch(api: httpx.AsyncClient) -> None:
    same, other = MEMORY | {"id": "x"}, MEMORY | {"id": "x", "reward": 9.0}
    answer = (await api.post("/v1/episodic/batch", json={"memories": [same, same, other]})).json()
    assert [r["status"] for r in answer["results"]] == ["created", "unchanged", "error"]
    assert answer["results"][2]["error"]["code"] == "content_conflict"


async def test_racing_writers_of_one_id_never_mix(settings: Settings) -> None:
    """Two services on one Redis, many writers with contents of their own for the same ids."""
    async with running_service(settings) as one, running_service(settings) as two:
        for round_ in range(10):
            contents = [
                MEMORY
                | {
                    "id": f"race-{round_}",
                    "reward": float(n),
                    "state_vector": [float(n + 1)] * DIMENSION,
                    "metadata": {"n": n},
                }
                for n in range(12)
            ]
            clients = [one, two] * 6
            answers = await asyncio.gather(
                *(c.post("/v1/episodic", json=m) for c, m in zip(clients, contents, strict=True))
            )
            created = [i for i, answer in enumerate(answers) if answer.status_code == 201]
            assert len(created) == 1
            assert {a.status_code for a in answers} == {201, 409}
            stored = (await two.get(f"/v1/episodic/a/race-{round_}")).json()
            winner = contents[created[0]]
            assert {name: stored[name] for name in winner} == winner


async def test_open_memory_is_closed_once(api: httpx.AsyncClient) -> None:
    memory = {k: v for k, v in MEMORY.items() if k != "reward"} | {"id": "open", "timestamp": 100.0}
    await api.post("/v1/episodic", json=memory)
    question = {"agent_id": "a", "state_vector": [1.0] * DIMENSION}
    (hit,) = (await api.post("/v1/episodic/search", json=question)).json()["memories"]
    assert (hit["reward"], hit["outcome_at"]) == (None, None)
    bounded = await api.post("/v1/episodic/search", json=question | {"min_reward": -1e9})
    assert bounded.json()["count"] == 0

    path = "/v1/episodic/a/open/outcome"
    too_early = await api.post(path, json={"reward": 1.0, "outcome_at": 99.0})
    assert (too_early.status_code, too_early.json()["field"]) == (422, "outcome_at")
    outcome = {"reward": 0.25, "outcome_at": 200.0, "terminal": True}
    closed = await api.post(path, json=outcome)
    assert closed.status_code == 200
    assert closed.json()["changed"] is True
    again = await api.post(path, json=outcome)
    assert (again.status_code, again.json()["changed"]) == (200, False)
    for other in ({"reward": 0.26}, {"reward": 0.25, "outcome_at": 201.0}):
        refused = await api.post(path, json=other)
        assert (refused.status_code, refused.json()["code"]) == (409, "outcome_conflict")
    assert (await api.post("/v1/episodic/a/none/outcome", json=outcome)).status_code == 404

    bounded = await api.post("/v1/episodic/search", json=question | {"min_reward": 0.25})
    (hit,) = bounded.json()["memories"]
    assert (hit["reward"], hit["outcome_at"], hit["terminal"]) == (0.25, 200.0, True)
    retried_store = await api.post("/v1/episodic", json=memory)
    assert (retried_store.status_code, retried_store.json()["created"]) == (200, False)


async def test_racing_outcomes_agree_on_one(api: httpx.AsyncClient) -> None:
    memory = {k: v for k, v in MEMORY.items() if k != "reward"} | {"id": "open"}
    await api.post("/v1/episodic", json=memory)
    answers = await asyncio.gather(
        *(api.post("/v1/episodic/a/open/outcome", json={"reward": float(n)}) for n in range(10))
    )
    winners = [a.json()["reward"] for a in answers if a.status_code == 200]
    assert len(winners) == 1
    assert (await api.get("/v1/episodic/a/open")).json()["reward"] == winners[0]
    assert sum(a.status_code == 409 for a in answers) == 9
