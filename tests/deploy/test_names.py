"""A master whose container is gone, and its name with it, is replaced all the same."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from app.embedded.node import LOOPBACK, free_port
from tests.deploy.memories import key, nearest, store
from tests.deploy.nodes import (
    MASTER,
    PASSWORD,
    REPLICAS,
    Node,
    command,
    in_step,
    wait_until,
    write_files,
)

SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")
OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")
WITH_NAMES = (
    'mount --bind "$0" /etc/hosts && mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
)
NOBODY = f"nameserver {LOOPBACK}\n"
"""A name server that refuses at once, as compose.yaml has the engine's own do."""


def are_permitted() -> bool:
    """Whether this user may give a process its own /etc/hosts here."""
    if shutil.which(OWN_MOUNTS[0]) is None:
        return False
    words = (*OWN_MOUNTS, "mount", "--bind", os.devnull, "/etc/hosts")
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


class Names:
    """The names that the nodes know. Each has its own copies of the files that say so."""

    def __init__(self, folder: Path) -> None:
        self.hosts, self.resolver = folder / "hosts", folder / "resolv.conf"
        self.resolver.write_text(NOBODY)

    def are(self, names: Sequence[str]) -> None:
        self.hosts.write_text("".join(f"{LOOPBACK} {name}\n" for name in names))

    def runner(self) -> tuple[str, ...]:
        return (*OWN_MOUNTS, "sh", "-c", WITH_NAMES, str(self.hosts), str(self.resolver))


@pytest.fixture
def names(tmp_path: Path) -> Names:
    names = Names(tmp_path)
    names.are((MASTER, *REPLICAS, *SENTINELS))
    return names


@pytest.fixture
def nodes(tmp_path: Path, names: Names) -> Iterator[dict[str, Node]]:
    """The HA profile with the files' own times; all go by the names of compose.yaml."""
    ports = {name: free_port() for name in (MASTER, *REPLICAS, *SENTINELS)}
    urls = ",".join(f"redis://:{PASSWORD}@{name}:{ports[name]}" for name in SENTINELS)
    nodes = {name: Node(name, tmp_path / name, port) for name, port in ports.items()}
    try:
        for name, node in nodes.items():
            node.runner = names.runner()
            node.environment = {"REDIS_SENTINEL_URLS": urls, "REDIS_NODE_NAME": name}
            if name in SENTINELS:
                node.environment = {"SENTINEL_NAME": name}
            write_files(node, (MASTER, ports[MASTER]))
            node.start()
        for name in SENTINELS:
            wait_until(lambda name=name: known(nodes[name]) == (2, 2), nodes[name].log)  # type: ignore[misc]
        yield nodes
    finally:
        for node in reversed(nodes.values()):
            node.stop()


def known(sentinel: Node) -> tuple[int, int]:
    """Replicas and other Sentinels."""
    with sentinel.client() as client:
        flat = command(client, "SENTINEL", "MASTER", "coinswarm")
    found = dict(zip(flat[::2], flat[1::2], strict=True)) if isinstance(flat, list) else flat
    return int(found["num-slaves"]), int(found["num-other-sentinels"])


def named_master(sentinel: Node) -> str:
    with suppress(RedisError), sentinel.client() as client:
        host, _ = command(client, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "coinswarm")
        return str(host)
    return ""


def follows(node: Node) -> bool:
    with suppress(RedisError):
        return in_step(node)
    return False


@pytest.mark.skipif(not are_permitted(), reason="needs a mount namespace")
def test_name_of_a_lost_master_is_not_needed(nodes: dict[str, Node], names: Names) -> None:
    master = nodes[MASTER]
    with master.client() as client:
        store(client, 20)
        assert client.wait(2, 60_000) == 2
    os.kill(master.server_process_id(), signal.SIGKILL)
    master.stop()
    names.are((*REPLICAS, *SENTINELS))
    for name in SENTINELS:
        wait_until(lambda name=name: named_master(nodes[name]) in REPLICAS, nodes[name].log)  # type: ignore[misc]
    names.are((MASTER, *REPLICAS, *SENTINELS))
    master.start()
    wait_until(lambda: follows(master), master.log)
    with master.client() as client:
        assert nearest(client, 19) == key(19)
