"""A Redis in cluster mode is refused with the reason, and what to use instead."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from app.embedded import EmbeddedNode, embedded_redis
from app.embedded.files import find_binaries
from app.embedded.node import LOOPBACK, free_ports
from app.errors import ConfigurationError
from app.settings import Settings
from tests.commands.app_process import run_app, run_app_process
from tests.conftest import DIMENSION

START_WAIT_S = 60.0
REASON = "runs in cluster mode"
INSTEAD = "set cluster-enabled to no, and use a master with replicas and Sentinels"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a node in cluster mode that serves all slots."""
    binaries = find_binaries()
    port, bus_port = free_ports(2)
    options = {
        "port": port,
        "bind": LOOPBACK,
        "dir": tmp_path_factory.mktemp("node"),
        "cluster-enabled": "yes",
        "cluster-port": bus_port,
        "loadmodule": binaries.engine,
    }
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    with subprocess.Popen([str(binaries.server), *words], stdout=subprocess.DEVNULL) as server:
        try:
            _take_all_slots(port)
            yield f"redis://{LOOPBACK}:{port}"
        finally:
            server.terminate()


def _take_all_slots(port: int) -> None:
    give_up_at = time.monotonic() + START_WAIT_S
    with Redis(host=LOOPBACK, port=port, protocol=2) as node:
        while True:
            with suppress(RedisError):
                node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
                break
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        while node.cluster("INFO")["cluster_state"] != "ok":
            assert time.monotonic() < give_up_at
            time.sleep(0.05)


def test_the_service_does_not_start_and_says_why(url: str) -> None:
    status, said = run_app_process("serve", redis_url=url, port=0)
    assert status != 0
    assert REASON in said
    assert INSTEAD in said
    assert "Traceback" not in said


def test_check_says_the_same(url: str) -> None:
    status, said = run_app("check", redis_url=url)
    assert (status, said.count("\n")) == (2, 1)
    assert REASON in said
    assert INSTEAD in said


def test_a_replica_in_cluster_mode_is_refused_too(url: str, redis_node: EmbeddedNode) -> None:
    status, said = run_app_process(
        "serve", redis_url=redis_node.url, replica_urls=url, dimension=DIMENSION, port=0
    )
    assert status != 0
    assert f"{url.removeprefix('redis://')} {REASON}" in said
    assert "Traceback" not in said


def test_nothing_was_written_there(url: str) -> None:
    with Redis.from_url(url, protocol=2) as node:
        assert node.dbsize() == 0
        assert node.execute_command("FT._LIST") == []


async def test_data_folder_of_a_former_cluster_is_not_taken_for_an_empty_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "cluster" / "node-1").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="holds the memory of a Redis Cluster"):
        async with embedded_redis(Settings(data_dir=tmp_path)):
            pass
