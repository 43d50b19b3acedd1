"""One embedded redis-server: starts it, waits until it answers, and stops it."""

import asyncio
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis.exceptions as foreign
from redis.asyncio import Redis

from app.embedded.files import ADVICE, LOOK_INTERVAL_S, Binaries, CutFiles, disk_problem
from app.errors import EmbeddedRedisError
from app.nodes.jobs import periodically

GUARD = Path(__file__).with_name("guard.py")
REJOIN = Path(__file__).with_name("rejoin.py")
CONF_NAME = "node.conf"
LOG_NAME = "redis.log"
SOCKET_NAME = "redis.sock"
LOOPBACK = "127.0.0.1"
PORTS = range(10_000, 30_000)
POLL_INTERVAL_S = 0.01
RESTART_PAUSE_S = 1.0
STOP_TIMEOUT_S = 70.0
MAX_SOCKET_PATH_BYTES = 100
"""The kernel's limit is 104 to 108 bytes."""


@dataclass(frozen=True, slots=True)
class EmbeddedNode:
    """A running redis-server on this machine. `socket_path` is the faster way to reach it."""

    name: str
    port: int
    socket_path: Path
    process: asyncio.subprocess.Process

    @property
    def url(self) -> str:
        """Return the address for clients on this machine."""
        return f"unix://{self.socket_path}"

    @property
    def tcp_url(self) -> str:
        """Return the loopback address."""
        return f"redis://{LOOPBACK}:{self.port}"


@dataclass(frozen=True, slots=True)
class Watch:
    """The Sentinels that watch a master and its replicas: their ports, and their name for it."""

    ports: tuple[int, ...]
    master_name: str


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """How one node runs. `maxmemory_bytes` 0 means no limit; without `replica_of_port` it is a
    master.

    With `watch`, Sentinels may change its role.
    """

    name: str
    folder: Path
    port: int
    maxmemory_bytes: int
    start_timeout_s: float
    lock_descriptor: int
    replica_of_port: int | None = None
    watch: Watch | None = None


def free_ports(count: int) -> list[int]:
    """Return different loopback ports that nothing uses right now.

    They are none of those that systems give to connections: such a port may be taken before a node
    listens on it, or while it starts again.
    """
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = PORTS[secrets.randbelow(len(PORTS))]
            with suppress(OSError):
                held.enter_context(socket.socket()).bind((LOOPBACK, port))
                ports.append(port)
        return ports


def free_port() -> int:
    """Return a loopback port that nothing is listening on right now."""
    return free_ports(1)[0]


@asynccontextmanager
async def running_node(binaries: Binaries, options: NodeOptions) -> AsyncIterator[EmbeddedNode]:
    """Run a redis-server, and yield it once it has loaded its data. Raise EmbeddedRedisError."""
    options.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _socket_folder(options.folder) as socket_folder:
        socket_path = socket_folder / SOCKET_NAME
        port = options.port or free_port()
        files = CutFiles(options.name, options.folder, options.folder / LOG_NAME)
        process = await spawn_guarded(
            _command(binaries, options, port, socket_path),
            options.folder / LOG_NAME,
            options.lock_descriptor,
            pause_s=RESTART_PAUSE_S,
        )
        try:
            node = EmbeddedNode(options.name, port, socket_path, process)
            await _wait_until_ready(node, options)
            files.look()
            keep_running(process)
            async with periodically(files.look_again, LOOK_INTERVAL_S, "looking for cut files"):
                yield node
        finally:
            await stop(process)


@contextmanager
def _socket_folder(folder: Path) -> Iterator[Path]:
    """Yield the node's own folder, or a short temporary one if its path is too long for a socket.

    Either way the node's own folder shows where the socket is, for commands beside the service.
    """
    path = folder.resolve()
    if len(os.fsencode(path / SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES:
        yield path
        return
    sign = folder / SOCKET_NAME
    with tempfile.TemporaryDirectory(prefix="coinswarm-") as temporary:
        sign.unlink(missing_ok=True)
        sign.symlink_to(Path(temporary) / SOCKET_NAME)
        try:
            yield Path(temporary)
        finally:
            sign.unlink(missing_ok=True)


def _config(options: NodeOptions, port: int, socket_path: Path) -> dict[str, str | int]:
    config: dict[str, str | int] = {
        "port": port,
        "bind": LOOPBACK,
        "unixsocket": str(socket_path),
        "unixsocketperm": 700,
        "dir": str(options.folder.resolve()),
        "logfile": LOG_NAME,
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",  # the append-only file is enough
        "maxmemory": options.maxmemory_bytes,
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        # Otherwise a replica refuses to end while it writes its first append-only file.
        "shutdown-on-sigterm": "force",
        "repl-diskless-sync-delay": 0,  # the nodes start together, so there are none to wait for
    }
    if options.watch is not None:
        config |= {
            # A master without replicas, such as one that was replaced, refuses writes after
            # min-replicas-max-lag seconds.
            "min-replicas-to-write": 1,
            "min-replicas-max-lag": 5,
            "repl-backlog-size": 64 * 1024 * 1024,
            "repl-timeout": 10,
        }
    if options.replica_of_port is not None:
        config["replicaof"] = f"{LOOPBACK} {options.replica_of_port}"
    return config


def _command(binaries: Binaries, options: NodeOptions, port: int, socket_path: Path) -> list[str]:
    config = _config(options, port, socket_path)
    module = [str(binaries.engine), "ON_TIMEOUT", "FAIL"] if binaries.engine is not None else []
    conf = options.folder / CONF_NAME
    if options.watch is None:
        words = [str(word) for name, value in config.items() for word in (f"--{name}", value)]
        return [str(binaries.server), *words, *(["--loadmodule", *module] if module else [])]
    # In a file, because Sentinel rewrites it to record whom the node follows.
    lines = [
        f"{name} {value if name == 'replicaof' else quoted(value)}"
        for name, value in config.items()
    ]
    if module:
        lines.append(f"loadmodule {' '.join(map(quoted, module))}")
    conf.write_text("".join(f"{line}\n" for line in lines))
    return [*_rejoin(options.watch, conf, port), str(binaries.server), str(conf)]


def _rejoin(watch: Watch, conf: Path, port: int) -> list[str]:
    sentinels = ",".join(f"{LOOPBACK}:{sentinel}" for sentinel in watch.ports)
    words = (conf.parent.resolve(), conf, f"{LOOPBACK}:{port}", sentinels, watch.master_name)
    return [sys.executable, "-I", "-S", str(REJOIN), *map(str, words)]


def quoted(value: str | int) -> str:
    """Return a value in the syntax of Redis's configuration files."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


async def spawn_guarded(
    command: Sequence[str], log: Path, lock_descriptor: int, *, pause_s: float
) -> asyncio.subprocess.Process:
    """Start a server under a guard. Its output goes to the log."""
    guard = (str(GUARD), str(lock_descriptor), str(pause_s))
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", *guard, *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=(lock_descriptor,),
            # Ctrl-C in a terminal reaches the whole process group; the service must end first.
            start_new_session=True,
        )


async def _wait_until_ready(node: EmbeddedNode, options: NodeOptions) -> None:
    give_up_at = time.monotonic() + options.start_timeout_s
    client = Redis.from_url(node.url, socket_connect_timeout=1, socket_timeout=1)
    try:
        while True:
            if node.process.returncode is not None:
                raise EmbeddedRedisError(
                    disk_problem(options.folder)
                    or f"The embedded Redis ended at startup ({_last_words(options.folder)}): "
                    f"mend that, or {ADVICE}."
                )
            try:
                await client.ping()
            except foreign.RedisError as error:
                if time.monotonic() > give_up_at:
                    raise EmbeddedRedisError(
                        f"The embedded Redis did not load its data within "
                        f"{options.start_timeout_s:g} s: raise MEMORY_EMBEDDED_START_TIMEOUT_S."
                    ) from error
                await asyncio.sleep(POLL_INTERVAL_S)
            else:
                return
    finally:
        await client.aclose()


def keep_running(process: asyncio.subprocess.Process) -> None:
    """Tell the guard that the server is up, so that it restarts a dead one from now on."""
    if process.stdin is not None:
        process.stdin.write(b"+")


async def stop(process: asyncio.subprocess.Process) -> None:
    """Close the guard's input, which ends the server, and wait for both."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def _last_words(folder: Path) -> str:
    lines = (folder / LOG_NAME).read_text("utf-8", "replace").strip().splitlines()
    return lines[-1][-300:] if lines else "its log is empty"
