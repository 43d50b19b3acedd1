"""Three Sentinels from the template promote a replica when the master is gone."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError
from redis.retry import Retry

from app.embedded.node import LOOPBACK
from tests.deploy.memories import key, nearest, store
from tests.deploy.nodes import (
    MASTER,
    PASSWORD,
    REPLICAS,
    Node,
    command,
    deployment,
    prepare,
    wait_until,
)

NAMES = ("sentinel-1", "sentinel-2", "sentinel-3")


def _quickly(sentinel: Node) -> None:
    """Only here: the template's 5 s of silence would be waited for."""
    conf = sentinel.folder / "conf" / "sentinel.conf"
    shorter = conf.read_text().replace("down-after-milliseconds coinswarm 5000", "{} 500")
    conf.write_text(shorter.replace("{}", "down-after-milliseconds coinswarm"))


def _master_port(client: Redis) -> int:
    return int(command(client, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "coinswarm")[1])


def _known(client: Redis) -> tuple[int, int]:
    flat = command(client, "SENTINEL", "MASTER", "coinswarm")
    found = dict(zip(flat[::2], flat[1::2], strict=True)) if isinstance(flat, list) else flat
    return int(found["num-slaves"]), int(found["num-other-sentinels"])


def test_a_lost_master_is_replaced_and_comes_back_as_a_replica(tmp_path: Path) -> None:
    with ExitStack() as stack:
        nodes = stack.enter_context(deployment(tmp_path))
        master, ports = nodes[MASTER], {nodes[name].port: nodes[name] for name in REPLICAS}
        with master.client() as client:
            store(client, 20)
            assert client.wait(2, 5000) == 2
        clients = []
        for name in NAMES:
            sentinel = prepare(name, tmp_path / name, master.port)
            _quickly(sentinel)
            stack.callback(sentinel.stop)
            sentinel.start()
            clients.append(stack.enter_context(sentinel.client()))
        # They find each other and the replicas, with their passwords.
        wait_until(lambda: all(_known(client) == (2, 2) for client in clients))
        assert command(clients[0], "SENTINEL", "CKQUORUM", "coinswarm").startswith("OK")

        master.stop()
        wait_until(lambda: all(_master_port(client) in ports for client in clients))
        promoted = ports[_master_port(clients[0])]
        with promoted.client() as client:
            wait_until(lambda: client.info("replication")["role"] == "master")
            assert nearest(client, 7) == key(7)
            store(client, 1, first=20)

        master.start()
        with master.client() as client:
            wait_until(lambda: client.info("replication")["role"] == "slave", master.log)
            wait_until(lambda: nearest(client, 20) == key(20), master.log)


def test_a_sentinel_asks_for_the_password_and_keeps_its_identity(tmp_path: Path) -> None:
    with deployment(tmp_path) as nodes:
        sentinel = prepare("sentinel-1", tmp_path / "sentinel-1", nodes[MASTER].port)
        try:
            sentinel.start()
            with sentinel.client() as client:
                identity = command(client, "SENTINEL", "MYID")
            stranger = Redis(host=LOOPBACK, port=sentinel.port, retry=Retry(NoBackoff(), 0))
            with stranger, pytest.raises(AuthenticationError):
                stranger.ping()
            sentinel.stop()
            sentinel.start()
            with sentinel.client() as client:
                assert command(client, "SENTINEL", "MYID") == identity
        finally:
            sentinel.stop()
    written = (sentinel.folder / "data" / "sentinel.conf").read_text()
    assert f"{LOOPBACK} {nodes[MASTER].port} 2" in written
    assert written.count(PASSWORD) == 2
