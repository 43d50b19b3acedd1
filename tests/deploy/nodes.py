"""The deployment's own nodes without containers: redis/start.sh and the files beside it, run with
the packaged server on loopback."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from redis import Redis
from redis.exceptions import RedisError

from app.embedded.files import find_binaries
from app.embedded.node import GUARD, LOOPBACK, free_port
from app.storage.assumptions.limits import OOM_SINCE
from tests.engine import engine, has_own_settings

REPOSITORY = Path(__file__).parent.parent.parent
CONFIGURATION = REPOSITORY / "redis"
PASSWORD = "a-Password_of.the~tests"
MASTER = "redis-master"
REPLICAS = ("redis-replica-1", "redis-replica-2")
MOUNT_POINT = "/usr/local/etc/coinswarm/"
CLIENT = Path(__file__).with_name("raw_client.py")
TIMEOUT_S = 90.0

# From 8.0 on the engine takes its settings from redis.conf. One of before is a module that takes
# them as arguments; None: it does not know the setting.
ENGINE_ARGUMENTS: dict[str, str | None] = {
    "search-on-timeout": "ON_TIMEOUT",
    "search-workers": None,
    "search-default-dialect": "DEFAULT_DIALECT",
    "search-vss-max-resize": "VSS_MAX_RESIZE",
}

# Not of the files: a master waits 5 s for further replicas before it sends a full copy.
FOR_TESTS_ONLY = "repl-diskless-sync-delay 0\n"


def engine_arguments(configuration: str) -> list[str]:
    """The `search-` lines of a file as the packaged module's arguments."""
    pairs = re.findall(r"^(search-\S+) (\S+)$", configuration, re.MULTILINE)
    words = [(ENGINE_ARGUMENTS[name], value.upper()) for name, value in pairs]
    return [word for name, value in words if name is not None for word in (name, value)]


def command(client: Redis, *words: str | int | bytes) -> Any:
    """Any command, its reply as it comes."""
    return client.execute_command(*words)  # type: ignore[no-untyped-call]


@dataclass
class Node:
    """One node of the deployment, running or not. `port` stays through restarts.

    `runner` are words before the command, as `ip netns exec NAME` that give it another network.
    """

    name: str
    folder: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    host: str = LOOPBACK
    runner: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Its address for the service, with the password."""
        return f"redis://:{PASSWORD}@{self.host}:{self.port}/0"

    def client(self) -> Redis:
        """A client of the node; the caller closes it. A vector in its slow log is no text."""
        return Redis(
            host=self.host,
            port=self.port,
            password=PASSWORD,
            protocol=2,
            decode_responses=True,
            encoding_errors="replace",
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        self.wait_until_it_answers()

    def launch(self) -> None:
        """Start it as its container would."""
        script = "start-sentinel.sh" if self.name.startswith("sentinel-") else "start.sh"
        conf = self.folder / "conf" / _file_of(self.name)
        with (self.folder / "redis.log").open("ab") as log, Path(os.devnull).open("rb") as nothing:
            self.process = subprocess.Popen(
                # The guard ends the node when this process ends, however it ends.
                (
                    *(sys.executable, "-I", "-S", str(GUARD), str(nothing.fileno()), "1"),
                    *(*self.runner, "sh", str(CONFIGURATION / script), str(conf)),
                ),
                env={**os.environ, **self._environment(), **self.environment},
                pass_fds=(nothing.fileno(),),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        """End it with SIGTERM, as `docker compose stop` does."""
        self.tell_to_stop()
        if self.process is not None:
            self.process.wait(TIMEOUT_S)
            self.process = None

    def tell_to_stop(self) -> None:
        """The same, without waiting for its end."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()

    def server_process_id(self) -> int:
        """Its redis-server (or Sentinel): the child of the guard, which every script becomes."""
        assert self.process is not None
        guard = psutil.Process(self.process.pid)
        # One that was launched a moment ago has none yet.
        wait_until(lambda: len(guard.children()) == 1, self.log)
        (server,) = guard.children()
        return server.pid

    def log(self) -> str:
        """What it said so far."""
        return (self.folder / "redis.log").read_text("utf-8", "replace")

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "REDIS_PASSWORD_FILE": str(self.folder / "password"),
            "NODE_CONF": str(self.folder / "data" / "node.conf"),
            "SENTINEL_CONF": str(self.folder / "data" / "sentinel.conf"),
        }

    def wait_until_it_answers(self) -> None:
        """Wait until it has loaded its data."""
        with self.client() as client:

            def answers() -> bool:
                assert self.process is not None
                assert self.process.poll() is None, self.log()[-2000:]
                with suppress(RedisError):
                    return bool(client.ping())
                return False

            wait_until(answers, self.log)


def wait_until(condition: Callable[[], bool], explain: Callable[[], str] = str) -> None:
    """Wait for a condition; fail with what `explain` says when it does not come true."""
    give_up_at = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < give_up_at, explain()[-2000:]
        time.sleep(0.02)


def until_written(node: Node) -> None:
    """Until all is in the append-only file: during an fsync, up to 2 s are kept back."""

    def is_written() -> bool:
        with node.client() as client:
            info = client.info("persistence")
        return (info["aof_buffer_length"], info["aof_pending_bio_fsync"]) == (0, 0)

    wait_until(is_written, node.log)


def _file_of(name: str) -> str:
    if name.endswith(MASTER) or name.startswith("node-"):
        return "redis.conf"
    return "sentinel.conf" if name.startswith("sentinel") else "replica.conf"


def _adapted(text: str, node: Node, master: tuple[str, int]) -> str:
    """A configuration file for this machine: its paths, addresses and engine lines."""
    host, port = master
    replacements = (
        (r"^bind .*$", f"bind {node.host}"),
        (r"^port .*$", f"port {node.port}"),
        (r"^dir .*$", f"dir {node.folder / 'data'}"),
        *(() if has_own_settings() else ((r"^search-.*$\n", ""),)),
        *(() if engine() >= OOM_SINCE else ((r"^search-on-oom .*$\n", ""),)),
        (rf"^replicaof {MASTER} 6379$", f"replicaof {host} {port}"),
        (rf"{MASTER} 6379 2$", f"{host} {port} 2"),
        (re.escape(MOUNT_POINT), f"{node.folder / 'conf'}/"),
    )
    for pattern, replacement in replacements:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def _write_client(path: Path) -> None:
    """In place of the image's redis-cli: the packaged server comes without one."""
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {CLIENT} "$@"\n')
    path.chmod(0o755)


def prepare(name: str, folder: Path, master_port: int, **environment: str) -> Node:
    """A node on loopback whose files lie in a folder of its own, not yet started."""
    node = Node(name, folder, master_port if name == MASTER else free_port(), environment)
    write_files(node, (LOOPBACK, master_port))
    return node


def write_files(node: Node, master: tuple[str, int]) -> None:
    """Write the node's configuration. `master`: host and port of the first one."""
    folder = node.folder
    for part in ("conf", "data", "bin"):
        (folder / part).mkdir(parents=True)
    (folder / "password").write_text(PASSWORD)
    for source in CONFIGURATION.glob("*.conf"):
        text = _adapted(source.read_text(), node, master)
        text += FOR_TESTS_ONLY if source.name == "redis.conf" else ""
        (folder / "conf" / source.name).write_text(text)
    _write_entrypoint(folder / "bin" / "docker-entrypoint.sh")
    _write_client(folder / "bin" / "redis-cli")


def _write_entrypoint(path: Path) -> None:
    """What the image's entrypoint does for `redis-server CONF`: load the engine, become Redis."""
    binaries = find_binaries()
    lines = "" if has_own_settings() else (CONFIGURATION / "redis.conf").read_text()
    arguments = " ".join(engine_arguments(lines))
    path.write_text(
        "#!/bin/sh\n"
        "trap '' XFSZ\n"  # a file-size limit is an error of writing, as a full disk is
        "program=$1; shift\n"
        f'[ "$program" = redis-sentinel ] && exec {binaries.server} "$@" --sentinel\n'
        f'exec {binaries.server} "$@" --loadmodule {binaries.engine} {arguments}\n'
    )
    path.chmod(0o755)


@contextmanager
def deployment(folder: Path, **environment: str) -> Iterator[dict[str, Node]]:
    """The master and both replicas, in step; ended afterwards."""
    port = free_port()
    nodes = {n: prepare(n, folder / n, port, **environment) for n in (MASTER, *REPLICAS)}
    with ExitStack() as stack:
        for node in nodes.values():
            stack.callback(node.stop)
        for node in nodes.values():
            stack.callback(node.tell_to_stop)  # all of them, before the first is waited for
        nodes[MASTER].start()
        for name in REPLICAS:
            nodes[name].launch()
        for name in REPLICAS:
            nodes[name].wait_until_it_answers()
            wait_until(lambda name=name: in_step(nodes[name]), nodes[name].log)  # type: ignore[misc]
        yield nodes


def in_step(replica: Node) -> bool:
    """Whether the replica's link to its master is up."""
    with replica.client() as client:
        info = client.info("replication")
    return bool(info.get("master_link_status") == "up")
