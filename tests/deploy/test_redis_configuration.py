"""redis/: its files and scripts run on a real Redis, on loopback instead of in containers."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.retry import Retry

from app.embedded.node import free_port
from app.nodes.engine_options import ON_TIMEOUT
from tests.deploy.memories import key, nearest, store
from tests.deploy.nodes import (
    CONFIGURATION,
    MASTER,
    REPLICAS,
    Node,
    command,
    deployment,
    in_step,
    prepare,
    wait_until,
)
from tests.engine import has_own_settings, reading

FIRST, SECOND = REPLICAS
UNITS = {"kb": 2**10, "mb": 2**20, "gb": 2**30}
NOT_IN_CONFIG_GET = {"include", "bind", "port", "dir", "replicaof"}


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Node]]:
    """A master with two replicas, for tests that change nothing but data."""
    with deployment(tmp_path_factory.mktemp("lasting")) as running:
        yield running


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[dict[str, Node]]:
    """The same afresh."""
    with deployment(tmp_path) as running:
        yield running


def _plain(value: str) -> str:
    """Sizes as Redis reports them."""
    return re.sub(
        r"\b(\d+)([kmg]b)\b", lambda m: str(int(m[1]) * UNITS[m[2]]), value.strip().strip('"')
    )


def _limits_by_class(found: str) -> list[str]:
    """`client-output-buffer-limit` is reported for all classes at once, replicas as slaves."""
    words = found.replace("slave", "replica").split()
    return [" ".join(words[start : start + 4]) for start in range(0, len(words), 4)]


def _settings(name: str) -> list[tuple[str, str]]:
    lines = (CONFIGURATION / name).read_text().splitlines()
    pairs = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    return [(name, _plain(value)) for name, value in pairs if name not in NOT_IN_CONFIG_GET]


@pytest.mark.parametrize(
    ("node", "name"), [(MASTER, "redis.conf"), (FIRST, "redis.conf"), (FIRST, "replica.conf")]
)
def test_every_line_is_in_force(lasting: dict[str, Node], node: str, name: str) -> None:
    settings = [
        pair for pair in _settings(name) if has_own_settings() or not pair[0].startswith("search-")
    ]
    assert settings
    with lasting[node].client() as client:
        for setting, value in settings:
            found = client.config_get(setting)[setting]
            assert found == value or value in _limits_by_class(found), setting


def test_the_engine_fails_a_search_out_of_time(lasting: dict[str, Node]) -> None:
    for node in lasting.values():
        with node.client() as client:
            assert "fail" in str(command(client, *reading(ON_TIMEOUT)))


def test_replicas_replicate_search_and_refuse_writes(lasting: dict[str, Node]) -> None:
    with lasting[MASTER].client() as master:
        store(master, 50)
        assert master.wait(2, 60_000) == 2
    for name in REPLICAS:
        with lasting[name].client() as replica:
            wait_until(lambda replica=replica: nearest(replica, 7) == key(7))  # type: ignore[misc]
            with pytest.raises(ReadOnlyError):
                replica.set("a", 1)


def test_a_password_is_asked_for(lasting: dict[str, Node]) -> None:
    for node in lasting.values():
        stranger = Redis(host="127.0.0.1", port=node.port, retry=Retry(NoBackoff(), 0))
        with stranger, pytest.raises(AuthenticationError):
            stranger.ping()


@pytest.mark.parametrize("password", ["", "with space", "p@ss", "a/b", 'quo"te'])
def test_a_password_that_no_address_can_carry_is_refused(tmp_path: Path, password: str) -> None:
    node = prepare(MASTER, tmp_path / MASTER, 0)
    (node.folder / "password").write_text(password)
    script = [str(CONFIGURATION / "start.sh"), str(node.folder / "conf" / "redis.conf")]
    ended = subprocess.run(
        ["sh", *script], env=node._environment(), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "REDIS_PASSWORD must be set" in ended.stderr
    assert not list((node.folder / "data").iterdir())


def test_a_killed_master_comes_back_with_everything(nodes: dict[str, Node]) -> None:
    master = nodes[MASTER]
    with master.client() as client:
        store(client, 50)
        # Kept at the latest a second later; the command waits for that.
        assert command(client, "WAITAOF", 1, 0, 60_000)[0] == 1
        os.kill(client.info("server")["process_id"], signal.SIGKILL)
    master.stop()
    master.start()
    with master.client() as client:
        wait_until(lambda: nearest(client, 7) == key(7))
        assert client.scard("episodic_agents") == 1
    wait_until(lambda: all(in_step(nodes[name]) for name in REPLICAS))


def test_a_role_given_later_survives_a_restart(nodes: dict[str, Node]) -> None:
    old, new = nodes[MASTER], nodes[FIRST]
    with new.client() as client:
        client.replicaof("NO", "ONE")
        client.config_rewrite()
    with old.client() as client:
        client.replicaof("127.0.0.1", str(new.port))
        client.config_rewrite()
    for node, role in ((new, "master"), (old, "slave")):
        node.stop()
        node.start()
        with node.client() as client:
            assert client.info("replication")["role"] == role


def test_a_change_of_the_file_takes_effect_after_a_rewrite(nodes: dict[str, Node]) -> None:
    master = nodes[MASTER]
    with master.client() as client:
        client.config_set("slowlog-max-len", 7)
        client.config_rewrite()
    conf = master.folder / "conf" / "redis.conf"
    conf.write_text(conf.read_text().replace("maxclients 10000", "maxclients 9000"))
    master.stop()
    master.start()
    with master.client() as client:
        assert client.config_get("maxclients")["maxclients"] == "9000"
        assert client.config_get("slowlog-max-len")["slowlog-max-len"] == "1024"


def test_a_replica_stops_at_once_while_it_writes_its_first_file(tmp_path: Path) -> None:
    master = prepare(MASTER, tmp_path / MASTER, free_port())
    replica = prepare(FIRST, tmp_path / FIRST, master.port)
    try:
        master.start()
        with master.client() as client:
            for start in range(0, 30_000, 10_000):
                client.mset({f"key:{start + n}": "x" * 1000 for n in range(10_000)})
        replica.start()
        wait_until(lambda: in_step(replica), replica.log)
        assert "Background AOF rewrite finished" not in replica.log()
        replica.stop()
    finally:
        replica.stop()
        master.stop()


def test_the_lines_of_later_engines_are_added(tmp_path: Path) -> None:
    node = prepare(MASTER, tmp_path / MASTER, free_port())
    extra = node.folder / "conf" / "engine-8.4.conf"
    assert "search-on-oom ignore" in (CONFIGURATION / extra.name).read_text()
    extra.write_text("slowlog-max-len 99\n")  # as of an engine that knows it
    node.start()
    try:
        with node.client() as client:
            assert client.config_get("slowlog-max-len")["slowlog-max-len"] == "99"
    finally:
        node.stop()


def test_variables_replace_the_file(tmp_path: Path) -> None:
    variables = {
        "REDIS_MAXMEMORY": "100mb",
        "REDIS_IO_THREADS": "1",
        "REDIS_MIN_REPLICAS_TO_WRITE": "1",
        "REDIS_NODE_NAME": "a-name",
    }
    node = prepare(MASTER, tmp_path / MASTER, free_port(), **variables)
    node.start()
    try:
        with node.client() as client:
            found = client.config_get("*")
            assert found["maxmemory"] == str(100 * UNITS["mb"])
            assert found["io-threads"] == "1"
            assert found["replica-announce-ip"] == "a-name"
            with pytest.raises(ResponseError, match="NOREPLICAS"):
                client.set("a", 1)
    finally:
        node.stop()


def test_full_memory_refuses_writes_and_still_searches(nodes: dict[str, Node]) -> None:
    with nodes[MASTER].client() as client:
        store(client, 50)
        client.config_set("maxmemory", client.info("memory")["used_memory"])
        with pytest.raises(OutOfMemoryError):
            client.hset("episodic:{agent_1}:new", mapping={"a": "b" * 10_000})
        assert nearest(client, 7) == key(7)
        assert client.info("stats")["evicted_keys"] == 0
