"""A master of the deployment that comes back at once with less than it had does not spread that."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from app.storage.embedded.node import free_port
from tests.deploy.memories import key, nearest, store
from tests.deploy.nodes import (
    MASTER,
    PASSWORD,
    REPLICAS,
    Node,
    command,
    prepare,
    wait_until,
)

SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")
WAITS = "waits until a replica has taken its place"
NEVER_MS, SOON_MS = 600_000, 500


def lose_everything(node: Node) -> None:
    """Its volume, and so its role and its configuration, too."""
    shutil.rmtree(node.folder / "data")
    (node.folder / "data").mkdir()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[dict[str, Node]]:
    """The HA profile: a master, two replicas, three Sentinels; each node knows the Sentinels."""
    port = free_port()
    sentinels = {name: prepare(name, tmp_path / name, port) for name in SENTINELS}
    urls = ",".join(f"redis://:{PASSWORD}@127.0.0.1:{one.port}" for one in sentinels.values())
    environment = {"REDIS_SENTINEL_URLS": urls, "REDIS_NODE_NAME": "127.0.0.1"}
    redis = {n: prepare(n, tmp_path / n, port, **environment) for n in (MASTER, *REPLICAS)}
    everything = redis | sentinels
    try:
        for node in everything.values():
            node.start()
        for sentinel in sentinels.values():
            with sentinel.client() as client:
                wait_until(lambda client=client: len(replicas(client)) == len(REPLICAS))  # type: ignore[misc]
                expect_failover_after(sentinel, NEVER_MS)
        yield everything
    finally:
        for node in reversed(everything.values()):
            node.stop()


def replicas(sentinel: object) -> list[object]:
    return list(command(sentinel, "SENTINEL", "REPLICAS", "coinswarm"))  # type: ignore[arg-type]


def expect_failover_after(sentinel: Node, silence_ms: int) -> None:
    with sentinel.client() as client:
        settings = ("down-after-milliseconds", silence_ms)
        command(client, "SENTINEL", "SET", "coinswarm", *settings)


def finds(node: Node, number: int) -> bool:
    """Whether a search there finds this memory; while it loads there is no index."""
    with suppress(RedisError), node.client() as client:
        return nearest(client, number) == key(number)
    return False


def test_master_without_anybody_to_replace_it_starts(nodes: dict[str, Node]) -> None:
    """After all of them were killed: what the files have is the best there is."""
    redis = [nodes[name] for name in (MASTER, *REPLICAS)]
    with nodes[MASTER].client() as client:
        store(client, 20)
        assert command(client, "WAITAOF", 1, 0, 5000)[0] == 1
    for node in redis:
        os.kill(node.server_process_id(), signal.SIGKILL)
        node.stop()
    for node in reversed(redis):
        node.start()
    assert WAITS not in nodes[MASTER].log()
    for node in redis:
        wait_until(lambda node=node: finds(node, 19), node.log)  # type: ignore[misc]


def test_empty_replica_is_not_promoted(nodes: dict[str, Node]) -> None:
    """Everything but it is dead for a while: better no master than one that knows nothing."""
    redis = [nodes[name] for name in (MASTER, *REPLICAS)]
    empty, sentinel = nodes[REPLICAS[0]], nodes[SENTINELS[0]]
    with nodes[MASTER].client() as client:
        store(client, 20)
        assert command(client, "WAITAOF", 1, 2, 5000) == [1, 2]
    for node in redis:
        os.kill(node.server_process_id(), signal.SIGKILL)
        node.stop()
    lose_everything(empty)
    empty.start()
    for name in SENTINELS:
        expect_failover_after(nodes[name], SOON_MS)
    logs = [nodes[name].log for name in SENTINELS]
    wait_until(
        lambda: any("no-good-slave" in log() or "+promoted-slave" in log() for log in logs),
        sentinel.log,
    )
    for node in (nodes[MASTER], nodes[REPLICAS[1]]):
        node.start()
    for node in redis:
        wait_until(lambda node=node: finds(node, 19), node.log)  # type: ignore[misc]
    with empty.client() as client:
        wait_until(lambda: client.config_get("replica-priority")["replica-priority"] == "100")
