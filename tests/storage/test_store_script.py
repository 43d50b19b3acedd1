"""One call of the store script holds many memories; each one's outcome is its own."""

from collections.abc import Callable
from typing import Any

import httpx
from redis.asyncio import Redis

Vector = Callable[[int], list[float]]


def batch(vector: Vector, names: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "memories": [
            {
                "id": memory_id,
                "agent_id": agent,
                "product_id": "p",
                "regime": "r",
                "state_vector": vector(number),
                "reward": 1.0,
            }
            for number, (agent, memory_id) in enumerate(names)
        ]
    }


async def test_mixed_agents_keep_their_order(api: httpx.AsyncClient, vector: Vector) -> None:
    names = [(f"agent_{number % 3}", f"m{number}") for number in range(150)]
    answer = (await api.post("/v1/episodic/batch", json=batch(vector, names))).json()
    assert [r["id"] for r in answer["results"]] == [memory_id for _, memory_id in names]
    assert (answer["created"], answer["failed"]) == (150, 0)
    for agent in ("agent_0", "agent_1", "agent_2"):
        body = {"agent_id": agent, "limit": 1000}
        found = (await api.post("/v1/episodic/query", json=body)).json()
        assert {m["id"] for m in found["memories"]} == {i for a, i in names if a == agent}


async def test_same_id_again_in_one_batch(api: httpx.AsyncClient, vector: Vector) -> None:
    body = batch(vector, [("a", f"m{number}") for number in range(100)])
    same, other = body["memories"][0], body["memories"][1]
    body["memories"] += [same, other | {"reward": 2.0}]
    body["memories"].insert(1, same)
    answer = (await api.post("/v1/episodic/batch", json=body)).json()
    statuses = [r["status"] for r in answer["results"]]
    assert statuses == ["created", "unchanged", *["created"] * 99, "unchanged", "error"]
    assert answer["results"][-1]["error"]["code"] == "content_conflict"


async def test_a_broken_key_spoils_no_other(
    api: httpx.AsyncClient, redis: Redis, vector: Vector
) -> None:
    await redis.set("episodic:{a}:m1", "not a hash")
    names = [("a", f"m{number}") for number in range(3)]
    answer = (await api.post("/v1/episodic/batch", json=batch(vector, names))).json()
    assert [r["status"] for r in answer["results"]] == ["created", "error", "created"]
    error = answer["results"][1]["error"]
    assert error["code"] == "storage_failed"
    assert error["detail"].startswith("Redis refused the command")
    seqs = [await redis.hget(f"episodic:{{a}}:m{number}", "seq") for number in (0, 2)]
    assert seqs == [b"1", b"2"]
    assert await redis.hget("episodic_partition:{a}", "seq") == b"2"


async def test_sequence_goes_on_from_batch_to_batch(
    api: httpx.AsyncClient, redis: Redis, vector: Vector
) -> None:
    for start in (0, 40, 20):  # the last one repeats 20 and is new for none
        names = [("a", f"m{number}") for number in range(start, start + 40)]
        await api.post("/v1/episodic/batch", json=batch(vector, names))
    keys = [f"episodic:{{a}}:m{number}" for number in range(80)]
    assert sorted([int(await redis.hget(key, "seq") or 0) for key in keys]) == [*range(1, 81)]
    assert await redis.hget("episodic_partition:{a}", "seq") == b"80"
