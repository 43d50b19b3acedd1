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
    command,
    deployment,
    prepare,
    wait_until,
)

NAMES = ("sentinel-1", "sentinel-2", "sentinel-3")


NEVER_MS, SOON_MS = 600_000, 500
"""The template's 5 s of silence would be waited for. While no master is to be lost, none is missed:
on a busy machine one that is well may be silent for a second."""


def _fail_over_after(clients: list[Redis], silence_ms: int) -> None:
    for client in clients:
        words = ("SENTINEL", "SET", "coinswarm", "down-after-milliseconds", silence_ms)
        command(client, *words)


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
            assert client.wait(2, 60_000) == 2
        clients = []
        for name in NAMES:
            sentinel = prepare(name, tmp_path / name, master.port)
            stack.callback(sentinel.stop)
            sentinel.start()
            clients.append(stack.enter_context(sentinel.client()))
        # They find each other and the replicas, with their passwords.
        _fail_over_after(clients, NEVER_MS)
        wait_until(lambda: all(_known(client) == (2, 2) for client in clients))
        assert command(clients[0], "SENTINEL", "CKQUORUM", "coinswarm").startswith("OK")

        master.stop()
        _fail_over_after(clients, SOON_MS)
        wait_until(lambda: all(_master_port(client) in ports for client in clients))
        _fail_over_after(clients, NEVER_MS)
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
