"""Episodes and steps, and priorities for many at once."""

from collections.abc import Callable

import httpx
import pytest

Make = Callable[[int], list[float]]


async def store(api: httpx.AsyncClient, vector: Make, agent: str, count: int) -> None:
    memories = [
        {
            "id": f"m{i}",
            "agent_id": agent,
            "product_id": "p",
            "regime": "r",
            "state_vector": vector(i),
            "reward": 1.0,
            "timestamp": float(i),
            "episode_id": f"day {i // 4}",
            "step": i % 4,
        }
        for i in range(count)
    ]
    answer = await api.post("/v1/episodic/batch", json={"memories": memories})
    assert answer.json()["created"] == count


async def test_trajectories_are_told_apart(api: httpx.AsyncClient, vector: Make) -> None:
    await store(api, vector, "a", 12)
    one = (await api.get("/v1/episodic/a/m6")).json()
    assert (one["episode_id"], one["step"]) == ("day 1", 2)

    async def found(**conditions: object) -> list[str]:
        body = {"agent_id": "a", "sort_by": "timestamp", "order": "asc", **conditions}
        answer = await api.post("/v1/episodic/query", json=body)
        return [memory["id"] for memory in answer.json()["memories"]]

    assert await found(episode_id="day 1") == ["m4", "m5", "m6", "m7"]
    assert await found(episode_id=["day 0", "day 2"], step=3) == ["m3", "m11"]
    assert await found(episode_id="day 2", min_step=1, max_step=2) == ["m9", "m10"]
    assert await found(step=1, min_step=2) == []
    nearest = {"agent_id": "a", "state_vector": vector(5), "episode_id": "day 0", "top_k": 10}
    hits = (await api.post("/v1/episodic/search", json=nearest)).json()["memories"]
    assert {hit["episode_id"] for hit in hits} == {"day 0"}
    drawn = {"agent_id": "a", "size": 9, "episode_id": "day 2"}
    sample = (await api.post("/v1/episodic/sample", json=drawn)).json()["memories"]
    assert {memory["id"] for memory in sample} == {"m8", "m9", "m10", "m11"}


@pytest.mark.parametrize(("field", "value"), [("step", -1), ("step", 1.5), ("episode_id", "")])
async def test_a_wrong_step_is_refused(
    api: httpx.AsyncClient, vector: Make, field: str, value: object
) -> None:
    body = {"agent_id": "a", "product_id": "p", "regime": "r", "state_vector": vector(1)}
    answer = await api.post("/v1/episodic", json=body | {field: value})
    assert answer.status_code == 422
    assert answer.json()["field"] == field


async def test_many_priorities_change_at_once(api: httpx.AsyncClient, vector: Make) -> None:
    await store(api, vector, "a", 12)
    given = [{"id": f"m{i}", "priority": float(i)} for i in range(12)]
    body = {"agent_id": "a", "priorities": [*given, {"id": "gone", "priority": 1}]}
    answer = (await api.post("/v1/episodic/priorities", json=body)).json()
    assert (answer["changed"], answer["missing"]) == (12, ["gone"])
    assert answer["token"]
    assert (await api.get("/v1/episodic/a/m7")).json()["priority"] == 7
    again = (await api.post("/v1/episodic/priorities", json=body)).json()
    assert (again["changed"], again["missing"], again["token"]) == (0, ["gone"], None)
    wanted = {"agent_id": "a", "size": 12, "strategy": "prioritized", "alpha": 1, "seed": 3}
    drawn = (await api.post("/v1/episodic/sample", json=wanted)).json()["memories"]
    chances = {memory["id"]: memory["probability"] for memory in drawn}
    assert chances["m8"] / chances["m2"] == pytest.approx(4, rel=1e-3)


@pytest.mark.parametrize(
    "priorities",
    [[], [{"id": "m1", "priority": -1}], [{"id": "m1"}], [{"id": "m", "priority": 1}] * 1001],
)
async def test_wrong_priorities_change_nothing(
    api: httpx.AsyncClient, vector: Make, priorities: list[object]
) -> None:
    await store(api, vector, "a", 2)
    body = {"agent_id": "a", "priorities": [*priorities]}
    answer = await api.post("/v1/episodic/priorities", json=body)
    assert answer.status_code == 422
    assert "priority" not in (await api.get("/v1/episodic/a/m1")).json()
