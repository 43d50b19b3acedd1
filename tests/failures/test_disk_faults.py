"""A disk that is full, a file that is cut, a replica that lost its disk; the service runs on."""

import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.embedded.node import free_port
from tests.conftest import DIMENSION
from tests.deploy.nodes import MASTER, Node, prepare, until_written
from tests.kit.service_process import service_process
from tools.crash.run import Plan, crash

WAIT_S = 90.0
ROOM_BYTES = 3000


def memory(number: int) -> dict[str, Any]:
    vector = [float(number + 1), *[1.0] * (DIMENSION - 1)]
    return {
        "id": f"m{number}",
        "agent_id": "agent_1",
        "product_id": "BTC-USD",
        "regime": "bull",
        "state_vector": vector,
    }


@contextmanager
def service_on_one_node(folder: Path) -> Iterator[tuple[httpx.Client, Node]]:
    node = prepare(MASTER, folder, free_port())
    try:
        node.start()
        with (
            service_process(redis_url=node.url, dimension=DIMENSION) as service,
            service.client() as client,
        ):
            yield client, node
    finally:
        node.stop()


def append_only_file(node: Node) -> Path:
    (found,) = (node.folder / "data" / "appendonlydir").glob("*.incr.aof")
    return found


def store(client: httpx.Client, number: int) -> httpx.Response:
    return client.post("/v1/episodic", json=memory(number))


def until_stored(client: httpx.Client, number: int) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not store(client, number).is_success:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def found_by_search(client: httpx.Client) -> set[str]:
    body = {
        "agent_id": "agent_1",
        "state_vector": memory(0)["state_vector"],
        "top_k": 1000,
        "consistency": "strong",
    }
    answer = client.post("/v1/episodic/search", json=body)
    assert answer.status_code == 200, answer.text
    return {hit["id"] for hit in answer.json()["memories"]}


def found_by_id(client: httpx.Client, count: int) -> set[str]:
    ids = [f"m{number}" for number in range(count)]
    return {i for i in ids if client.get(f"/v1/episodic/agent_1/{i}").status_code == 200}


def kill_and_start_again(node: Node) -> None:
    os.kill(node.server_process_id(), signal.SIGKILL)
    assert node.process is not None
    node.process.wait()
    node.stop()
    node.start()


def test_full_disk_refuses_writes_keeps_reads_and_is_over_when_there_is_room(
    tmp_path: Path,
) -> None:
    with service_on_one_node(tmp_path) as (client, node):
        until_stored(client, 0)
        server = node.server_process_id()
        _, hard = resource.prlimit(server, resource.RLIMIT_FSIZE)
        limit = append_only_file(node).stat().st_size + ROOM_BYTES
        resource.prlimit(server, resource.RLIMIT_FSIZE, (limit, hard))

        confirmed = 1
        give_up_at = time.monotonic() + WAIT_S
        while (answer := store(client, confirmed)).is_success:
            confirmed += 1
            assert time.monotonic() < give_up_at
        assert confirmed > 3
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (507, "storage_unwritable")
        assert problem["retryable"] is True
        assert "free disk space" in problem["detail"]
        assert client.delete("/v1/episodic/agent_1/m0").status_code == 507

        everything = {f"m{number}" for number in range(confirmed)}
        assert found_by_search(client) == everything
        assert found_by_id(client, confirmed + 1) == everything
        ready = client.get("/readyz").json()
        assert ready["parts"]["master"]["problem"] == "cannot write its append-only file"

        resource.prlimit(server, resource.RLIMIT_FSIZE, (hard, hard))
        until_stored(client, confirmed)
        assert server == node.server_process_id()
        until_written(node)

        kill_and_start_again(node)
        until_stored(client, confirmed + 1)
        everything |= {f"m{confirmed}", f"m{confirmed + 1}"}
        assert found_by_search(client) == everything
        assert found_by_id(client, confirmed + 2) == everything


def test_fsynced_is_never_confirmed_by_a_full_disk(tmp_path: Path) -> None:
    fsynced = {"X-Durability": "fsynced"}
    with service_on_one_node(tmp_path) as (client, node):
        until_stored(client, 0)
        until_written(node)
        server = node.server_process_id()
        _, hard = resource.prlimit(server, resource.RLIMIT_FSIZE)
        limit = append_only_file(node).stat().st_size
        resource.prlimit(server, resource.RLIMIT_FSIZE, (limit, hard))
        for number in range(1, 3):
            refused = client.post("/v1/episodic", json=memory(number), headers=fsynced)
            assert refused.status_code in {503, 507}, refused.text
            assert refused.json()["code"] in {"durability_not_reached", "storage_unwritable"}
            assert refused.json()["retryable"] is True
        # The disk never got them: they are gone with the process, as the answers said they may be.
        kill_and_start_again(node)
        until_stored(client, 3)
        assert found_by_search(client) == {"m0", "m3"}
        stored = client.post("/v1/episodic", json=memory(1), headers=fsynced)
        assert (stored.status_code, stored.json()["durability"]) == (201, "fsynced")


@pytest.mark.parametrize("cut_bytes", [40, 2000])
def test_cut_append_only_file_costs_its_end_and_says_so(tmp_path: Path, cut_bytes: int) -> None:
    with service_on_one_node(tmp_path) as (client, node):
        for number in range(30):
            until_stored(client, number)
        until_written(node)
        os.kill(node.server_process_id(), signal.SIGKILL)
        assert node.process is not None
        node.process.wait()
        node.stop()
        path = append_only_file(node)
        os.truncate(path, path.stat().st_size - cut_bytes)
        node.start()
        assert "Truncating the AOF" in node.log()

        until_stored(client, 1000)
        left = found_by_id(client, 30)
        # The first ones, without a gap; the index knows the same, and a retry heals it.
        assert left == {f"m{number}" for number in range(len(left))}
        assert 10 < len(left) < 30 if cut_bytes > 1000 else len(left) >= 28
        assert found_by_search(client) == left | {"m1000"}
        for number in range(30):
            assert store(client, number).status_code == (200 if f"m{number}" in left else 201)
        assert len(found_by_search(client)) == 31


async def test_replica_that_lost_its_disk_is_filled_again_under_load(tmp_path: Path) -> None:
    wanted = Plan(
        minutes=0.2,
        seed=5,
        topology="replicas",
        level="memory",
        agents=3,
        readers=3,
        only=(("kill and wipe", "replica"),),
    )
    result = await crash(wanted, tmp_path)
    assert result.verdict.broken == (), result.verdict.examples
    assert result.faults["kill and wipe replica"] >= 1
    assert result.verdict.levels["memory"].seconds_without_writes == 0
