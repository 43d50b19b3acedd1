"""Redis at its memory limit: writes are refused, reads go on, pruning makes room."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.kit.service_process import service_process

DIMENSION = 256
LIMIT_BYTES = 24 * 1024 * 1024
RUNBOOK = "docs/runbooks/out-of-memory.md"


def vectors(seed: int, count: int) -> list[list[float]]:
    drawn: list[list[float]] = np.random.default_rng(seed).normal(size=(count, DIMENSION)).tolist()
    return drawn


def memory(agent_id: str, vector: list[float], regime: str = "old") -> dict[str, Any]:
    return {"agent_id": agent_id, "product_id": "p", "regime": regime, "state_vector": vector}


def fill(client: httpx.Client) -> str:
    """Store until Redis takes nothing any more; the id of a stored memory."""
    known = ""
    for seed in range(200):
        batch = [memory("a", vector) for vector in vectors(seed, 100)]
        answer = client.post("/v1/episodic/batch", json={"memories": batch})
        if answer.status_code != 200 or answer.json()["failed"]:
            break
        known = answer.json()["results"][0]["id"]
    # A refused batch was counted while it was read: what it took is free again for smaller writes.
    refused_in_a_row = 0
    for vector in vectors(1000, 5000):
        status = client.post("/v1/episodic", json=memory("a", vector)).status_code
        assert status in {201, 507}
        refused_in_a_row = 0 if status == 201 else refused_in_a_row + 1
        if refused_in_a_row == 50:
            return known
    raise AssertionError("Redis never filled up")


def test_full_redis_refuses_writes_serves_reads_and_recovers_by_pruning(tmp_path: Path) -> None:
    with (
        service_process(data_dir=tmp_path, embedded_maxmemory_bytes=LIMIT_BYTES) as service,
        service.client() as client,
    ):
        first = memory("a", vectors(999, 1)[0])
        known = fill(client)
        for answer in (
            client.post("/v1/episodic", json=first),
            client.post("/v1/episodic", json=memory("somebody new", vectors(998, 1)[0])),
        ):
            assert answer.status_code == 507, answer.text
            problem = answer.json()
            assert (problem["code"], problem["retryable"]) == ("storage_full", False)
            assert RUNBOOK in problem["detail"]

        question = {"agent_id": "a", "state_vector": vectors(997, 1)[0], "top_k": 5}
        assert client.post("/v1/episodic/search", json=question).json()["count"] == 5
        assert client.get(f"/v1/episodic/a/{known}").status_code == 200
        listed = client.post("/v1/episodic/query", json={"agent_id": "a", "limit": 5})
        assert listed.status_code == 200
        assert client.get("/readyz").status_code == 200

        pruned = client.post(
            "/v1/episodic/delete", json={"agent_id": "a", "regime": "old", "dry_run": False}
        )
        assert pruned.status_code == 200, pruned.text
        assert pruned.json()["deleted"] == pruned.json()["matched"] > 0
        assert client.post("/v1/episodic", json=first).status_code == 201
        new = memory("somebody new", vectors(998, 1)[0])
        assert client.post("/v1/episodic", json=new).status_code == 201
