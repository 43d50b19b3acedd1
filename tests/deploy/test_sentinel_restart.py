"""A master of the deployment that comes back at once with less than it had does not spread that."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from app.embedded.node import free_port
from tests.deploy.memories import key, nearest, store
from tests.deploy.nodes import (
    MASTER,
    PASSWORD,
    REPLICAS,
    Node,
    command,
    in_step,
    prepare,
    wait_until,
)

SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")
NEVER_MS, SOON_MS = 600_000, 3000
"""Sentinels promote no replica whose master was dead for ten times this before they missed it: 30 s
for its harm and its start here."""
RETRY_MS = 4000
WAITS = "waits until a replica has taken its place"


def lose_the_disk(node: Node) -> None:
    shutil.rmtree(node.folder / "data" / "appendonlydir")


def lose_everything(node: Node) -> None:
    """Its volume, and so its role and its configuration, too."""
    shutil.rmtree(node.folder / "data")
    (node.folder / "data").mkdir()


def lose_the_end(node: Node) -> None:
    (path,) = (node.folder / "data" / "appendonlydir").glob("*.incr.aof")
    os.truncate(path, path.stat().st_size // 2)


def kill(node: Node) -> None:
    os.kill(node.server_process_id(), signal.SIGKILL)
    assert node.process is not None
    node.process.wait()
    node.stop()


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
        # A vote that is split is repeated after twice the failover-timeout.
        settings = ("down-after-milliseconds", silence_ms, "failover-timeout", RETRY_MS)
        command(client, "SENTINEL", "SET", "coinswarm", *settings)


def follows(node: Node) -> bool:
    """Whether it is a replica in step; it may not answer yet."""
    with suppress(RedisError):
        return in_step(node)
    return False


def finds(node: Node, number: int) -> bool:
    """Whether a search there finds this memory; while it loads there is no index."""
    with suppress(RedisError), node.client() as client:
        return nearest(client, number) == key(number)
    return False


@pytest.mark.parametrize("harm", [lose_the_end, lose_the_disk, lose_everything])
def test_replicas_keep_what_the_master_lost(
    nodes: dict[str, Node], harm: Callable[[Node], None]
) -> None:
    master, others = nodes[MASTER], [nodes[name] for name in REPLICAS]
    with master.client() as client:
        store(client, 40)
        assert client.wait(2, 60_000) == 2
    kill(master)
    harm(master)
    master.launch()
    wait_until(lambda: WAITS in master.log(), master.log)
    for name in SENTINELS:
        expect_failover_after(nodes[name], SOON_MS)
    wait_until(lambda: follows(master), master.log)
    for node in (master, *others):
        wait_until(lambda node=node: finds(node, 39), node.log)  # type: ignore[misc]


def test_restarted_replicas_replace_a_master_that_lost_everything(nodes: dict[str, Node]) -> None:
    """After all of them were killed, and the master is the first to be back: it waits for them."""
    master, others = nodes[MASTER], [nodes[name] for name in REPLICAS]
    with master.client() as client:
        store(client, 20)
        assert command(client, "WAITAOF", 1, 2, 60_000) == [1, 2]
    for node in (master, *others):
        kill(node)
    lose_everything(master)
    master.launch()
    wait_until(lambda: WAITS in master.log(), master.log)
    for node in others:
        node.environment["REDIS_ROLE_WAIT_S"] = "1"  # until they may be promoted with their files
        node.start()
    for name in SENTINELS:
        expect_failover_after(nodes[name], SOON_MS)
    wait_until(lambda: follows(master), master.log)
    for node in (master, *others):
        wait_until(lambda node=node: finds(node, 19), node.log)  # type: ignore[misc]


def test_master_without_anybody_to_replace_it_starts(nodes: dict[str, Node]) -> None:
    """After all of them were killed: what the files have is the best there is."""
    redis = [nodes[name] for name in (MASTER, *REPLICAS)]
    with nodes[MASTER].client() as client:
        store(client, 20)
        assert command(client, "WAITAOF", 1, 0, 60_000)[0] == 1
    for node in redis:
        kill(node)
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
        assert command(client, "WAITAOF", 1, 2, 60_000) == [1, 2]
    for node in redis:
        kill(node)
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
