"""A replica that caught up after its start may be promoted, whatever happened in that second."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded.node import LOOPBACK, free_port
from tests.deploy.nodes import MASTER, PASSWORD, REPLICAS, Node, in_step, prepare, wait_until


def deafen(node: Node, words: str) -> Path:
    """While the file that this returns is there, nothing of redis/ gets an answer to a command with
    these words, as if the node were too busy; `asked` beside it says that it was tried."""
    deaf = node.folder / "deaf"
    deaf.touch()
    client = node.folder / "bin" / "redis-cli"
    real = client.rename(client.with_name("real-client"))
    client.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *"{words}"*)\n'
        f"    if [ -e {deaf} ]; then touch {node.folder / 'asked'}; exit 1; fi ;;\n"
        "esac\n"
        f'exec {real} "$@"\n'
    )
    client.chmod(0o755)
    return deaf


def write_down(node: Node) -> Path:
    """The file that gets the arguments of each command of redis/ from now on."""
    listed = node.folder / "arguments"
    client = node.folder / "bin" / "redis-cli"
    real = client.rename(client.with_name("listed-client"))
    client.write_text(f'#!/bin/sh\necho "$*" >>{listed}\nexec {real} "$@"\n')
    client.chmod(0o755)
    return listed


def priority(node: Node) -> str:
    with node.client() as client:
        return str(client.config_get("replica-priority")["replica-priority"])


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """A master and a replica, which is not started yet; of their Sentinels none answers."""
    port = free_port()
    environment = {
        "REDIS_SENTINEL_URLS": f"redis://:{PASSWORD}@{LOOPBACK}:{free_port()}",
        "REDIS_NODE_NAME": LOOPBACK,
    }
    names = (MASTER, REPLICAS[0])
    master, replica = (prepare(name, tmp_path / name, port, **environment) for name in names)
    try:
        master.start()
        yield master, replica
    finally:
        replica.stop()
        master.stop()


def test_master_died_before_anybody_saw_that_the_replica_had_caught_up(
    nodes: tuple[Node, Node],
) -> None:
    master, replica = nodes
    deaf = deafen(replica, "INFO replication")
    replica.start()
    wait_until(lambda: in_step(replica), replica.log)
    os.kill(master.server_process_id(), signal.SIGKILL)
    wait_until(lambda: not in_step(replica), replica.log)
    assert priority(replica) == "0"
    deaf.unlink()
    wait_until(lambda: priority(replica) == "100", replica.log)


def test_replica_was_too_busy_to_hear_that_it_may(nodes: tuple[Node, Node]) -> None:
    _, replica = nodes
    deaf = deafen(replica, "CONFIG SET")
    replica.start()
    wait_until((replica.folder / "asked").exists, replica.log)
    assert priority(replica) == "0"
    deaf.unlink()
    wait_until(lambda: priority(replica) == "100", replica.log)


def test_no_password_is_in_the_list_of_processes(nodes: tuple[Node, Node]) -> None:
    _, replica = nodes
    listed = write_down(replica)
    replica.start()
    text = listed.read_text()
    assert "SENTINEL GET-MASTER-ADDR-BY-NAME" in text
    assert PASSWORD not in text
