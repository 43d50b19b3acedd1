"""The profile `cluster`: redis/cluster.conf and start-cluster.sh on six real nodes."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from redis.exceptions import RedisError

from app.storage.cluster_map import SLOTS, ClusterMap, combine, read_nodes
from app.storage.embedded.node import free_port
from tests.conftest import DIMENSION
from tests.deploy.nodes import (
    CONFIGURATION,
    PASSWORD,
    REPOSITORY,
    Node,
    command,
    prepare,
    wait_until,
)
from tests.service_process import service_process

COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
NAMES = tuple(n for n, s in COMPOSE["services"].items() if "cluster" in s.get("profiles", ()))
AGENTS = ("agent_1", "agent_2", "agent_3", "agent_8")
MEMORIES = 20


def _prepared(folder: Path) -> dict[str, Node]:
    """The nodes with the environment that compose gives each, on this machine's addresses."""
    nodes = {name: prepare(name, folder / name, 0) for name in NAMES}
    addresses = {f"{name}:6379": f"{node.host}:{node.port}" for name, node in nodes.items()}
    for name, node in nodes.items():
        given = COMPOSE["services"][name]["environment"]
        listed = str(given["REDIS_CLUSTER_NODES"]).split(",")
        node.environment["REDIS_CLUSTER_NODES"] = ",".join(addresses[a] for a in listed)
        node.environment["REDIS_CLUSTER_NUMBER"] = str(given["REDIS_CLUSTER_NUMBER"])
        conf = node.folder / "conf" / "cluster.conf"
        quicker = conf.read_text().replace("node-timeout 5000", "node-timeout 2000")
        conf.write_text(f"{quicker}cluster-port {free_port()}\n")
    return nodes


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Node]]:
    """All of them, as they come out of nothing."""
    prepared = _prepared(tmp_path_factory.mktemp("cluster"))
    with ExitStack() as stack:
        for node in prepared.values():
            stack.callback(node.stop)
            node.start()
        wait_until(lambda: _is_whole(prepared), lambda: _logs(prepared))
        yield prepared


def _logs(nodes: dict[str, Node]) -> str:
    return "\n".join(f"{name}: {node.log()[-300:]}" for name, node in nodes.items())


def _map(nodes: dict[str, Node]) -> ClusterMap:
    views = []
    for node in nodes.values():
        with suppress(RedisError, OSError), node.client() as client:
            client.response_callbacks.clear()
            views.append(read_nodes(str(command(client, "CLUSTER", "NODES"))))
    return combine(views)


def _shards(nodes: dict[str, Node]) -> list[tuple[str, list[str]]]:
    """Of each master that has slots its name and those of its replicas."""
    names = {node.port: name for name, node in nodes.items()}
    groups = [group for group in _map(nodes).groups if group.slots]
    alive = [[r for r in group.replicas if not r.has_failed] for group in groups]
    return [
        (names[g.master.port], sorted(names[r.port] for r in replicas))
        for g, replicas in zip(groups, alive, strict=True)
    ]


def _is_whole(nodes: dict[str, Node]) -> bool:
    for node in nodes.values():
        with suppress(RedisError, OSError), node.client() as client:
            info, own = client.cluster("info"), client.info("replication")
            is_linked = own["role"] == "master" or own["master_link_status"] == "up"
            has_all = info["cluster_state"] == "ok" and int(info["cluster_slots_ok"]) == SLOTS
            if has_all and is_linked and not client.info("persistence")["loading"]:
                continue
        return False
    shards = _shards(nodes)
    return len(shards) == len(NAMES) // 2 and all(len(replicas) == 1 for _, replicas in shards)


def test_every_line_is_in_force(nodes: dict[str, Node]) -> None:
    lines = (CONFIGURATION / "cluster.conf").read_text().splitlines()
    pairs = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    assert pairs[0][0] == "include"
    for node in nodes.values():
        with node.client() as client:
            for name, value in pairs[1:]:
                expected = "2000" if name == "cluster-node-timeout" else value
                assert client.config_get(name)[name] == expected, name
            # Of the file that is included.
            assert client.config_get("appendonly")["appendonly"] == "yes"
            assert client.config_get("masterauth")["masterauth"] == PASSWORD


def test_the_first_half_are_masters_and_the_others_their_replicas(nodes: dict[str, Node]) -> None:
    half = len(NAMES) // 2
    assert _shards(nodes) == [
        (master, [replica]) for master, replica in zip(NAMES[:half], NAMES[half:], strict=True)
    ]
    sizes = [high - low + 1 for g in _map(nodes).groups for low, high in g.slots]
    assert sum(sizes) == SLOTS
    assert max(sizes) - min(sizes) <= 1


def test_the_user_with_few_rights_needs_one_more(nodes: dict[str, Node]) -> None:
    text = (CONFIGURATION / "service.acl").read_text()
    (user,) = (line for line in text.splitlines() if line.startswith("user memory "))
    words = user.replace(">PASSWORD", f">{PASSWORD}").split()[1:]
    for node in nodes.values():
        with node.client() as client:
            command(client, "ACL", "SETUSER", *words, "+cluster|nodes")
    urls = ",".join(node.url.replace("//:", "//memory:") for node in nodes.values())
    with ExitStack() as stack:
        running = stack.enter_context(service_process(cluster_urls=urls, dimension=DIMENSION))
        api = stack.enter_context(httpx.Client(base_url=running.url, timeout=30))
        assert api.post("/v1/episodic", json=_memory("agent_1", 0)).status_code == 201
        for number, level in enumerate(("replicated", "fsynced"), 1):
            answer = api.post(
                "/v1/episodic",
                json=_memory("agent_1", number),
                headers={"X-Durability": level},
            )
            assert answer.status_code == 201, answer.text
            assert answer.headers["X-Durability"] == level
        wait_until(lambda: _count(api) == 3)
        for number in range(3):
            assert api.delete(f"/v1/episodic/agent_1/m{number}").status_code == 204
        assert api.get("/readyz").status_code == 200


def test_memories_survive_lost_masters_disks_and_a_restart_of_all(nodes: dict[str, Node]) -> None:
    urls = ",".join(node.url for node in nodes.values())
    with ExitStack() as stack:
        # What compose.yaml sets empty, and the nodes' password, which is in the addresses too.
        rest = {
            "redis_url": "",
            "replica_urls": "",
            "sentinel_urls": "",
            "redis_password": PASSWORD,
        }
        given: dict[str, Any] = {"cluster_urls": urls, "dimension": DIMENSION, **rest}
        running = stack.enter_context(service_process(**given))
        api = stack.enter_context(httpx.Client(base_url=running.url, timeout=30))
        batch = [_memory(agent_id, n) for agent_id in AGENTS for n in range(MEMORIES)]
        answer = api.post("/v1/episodic/batch", json={"memories": batch}).json()
        assert answer["created"] == len(batch)
        wait_until(lambda: _count(api) == len(batch))

        # One master is back at once; for all that is known it lacks its last writes.
        _replace(nodes, 0, lambda master: None)
        wait_until(lambda: _count(api) == len(batch))
        # Another one comes without its disk: for the others a node that they have never seen.
        _replace(nodes, 1, lambda master: _empty(master.folder / "data"))
        wait_until(lambda: _count(api) == len(batch))

        before = _shards(nodes)
        for node in nodes.values():
            node.stop()
        for node in nodes.values():
            node.launch()
        wait_until(lambda: _is_whole(nodes), lambda: _logs(nodes))
        assert _shards(nodes) == before
        wait_until(lambda: _count(api) == len(batch))


def _replace(nodes: dict[str, Node], shard: int, meanwhile: Callable[[Node], None]) -> None:
    """Kill the shard's master and start it again at once: it comes back as a replica."""
    name, (replica,) = _shards(nodes)[shard]
    master = nodes[name]
    os.kill(master.server_process_id(), signal.SIGKILL)
    master.stop()
    meanwhile(master)
    master.launch()
    wait_until(lambda: (replica, [name]) in _shards(nodes), master.log)
    assert "It waits until a replica has taken its place" in master.log()
    wait_until(lambda: _is_whole(nodes), lambda: _logs(nodes))


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _memory(agent_id: str, number: int) -> dict[str, Any]:
    rng = np.random.default_rng([*agent_id.encode(), number])
    vector = [float(x) for x in rng.normal(size=DIMENSION)]
    about = {"agent_id": agent_id, "product_id": "p", "regime": "r", "id": f"m{number}"}
    return {**about, "state_vector": vector}


def _count(api: httpx.Client) -> int:
    """How many memories a question over all agents finds; 0 while it is refused or partial."""
    asked = _memory(AGENTS[0], 0)
    body = {"agent_id": AGENTS[0], "state_vector": asked["state_vector"], "scope": "all"}
    found = api.post("/v1/episodic/search", json={**body, "top_k": 1000}).json()
    return 0 if found.get("partial", True) else int(found["count"])
