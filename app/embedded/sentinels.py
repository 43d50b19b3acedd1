"""The Sentinels of the embedded Redis, and the masters that they last named."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import redis.exceptions as foreign
from redis.asyncio import Redis

from app.embedded.files import Binaries
from app.embedded.node import (
    LOOPBACK,
    POLL_INTERVAL_S,
    RESTART_PAUSE_S,
    keep_running,
    quoted,
    spawn_guarded,
    stop,
)
from app.errors import EmbeddedRedisError
from app.nodes.client import execute

SENTINELS = 3
QUORUM = 2
DOWN_AFTER_MS = 1000
FAILOVER_TIMEOUT_MS = 2000
"""A failed failover is retried after twice this time. Failovers fail if two Sentinels stand for
election at the same moment and neither gets the votes."""
CONF_NAME = "sentinel.conf"
LOG_NAME = "sentinel.log"

_PORT = re.compile(r'^port "?(\d+)"?', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class WatchedMaster:
    """A master that Sentinels watch: its port at the start, and how many replicas follow it."""

    port: int
    replicas: int


def last_master(sentinels_dir: Path, name: str, data_dir: Path) -> str | None:
    """Return the node in `data_dir` that was the master of this name when Sentinels last ran in
    `sentinels_dir`. None if they never did."""
    monitored = re.compile(rf"^sentinel monitor {name} \S+ (\d+)", re.MULTILINE)
    epochs = re.compile(rf"^sentinel config-epoch {name} (\d+)", re.MULTILINE)
    confs = [
        path.read_text("utf-8", "replace") for path in sentinels_dir.glob(f"sentinel-*/{CONF_NAME}")
    ]
    views = [
        (int(epoch[1]) if epoch else 0, int(monitor[1]))
        for conf in confs
        if (monitor := monitored.search(conf))
        for epoch in [epochs.search(conf)]
    ]
    if not views:
        return None
    _, port = max(views)
    for path in data_dir.glob("node-*/node.conf"):
        own = _PORT.search(path.read_text("utf-8", "replace"))
        if own is not None and int(own[1]) == port:
            return path.parent.name
    return None


@asynccontextmanager
async def running_sentinels(
    binaries: Binaries,
    data_dir: Path,
    lock_descriptor: int,
    *,
    ports: Sequence[int],
    masters: Mapping[str, WatchedMaster],
    timeout_s: float,
) -> AsyncIterator[None]:
    """Run Sentinels, and yield once they know the masters, their replicas and each other.

    Raise EmbeddedRedisError.
    """
    processes = []
    try:
        for number, port in enumerate(ports, 1):
            folder = data_dir / f"sentinel-{number}"
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            conf = folder / CONF_NAME
            conf.write_text(_configuration(folder, port, masters))
            processes.append(
                await spawn_guarded(
                    [str(binaries.server), str(conf), "--sentinel"],
                    folder / LOG_NAME,
                    lock_descriptor,
                    pause_s=RESTART_PAUSE_S,
                )
            )
        await asyncio.gather(
            *(
                _wait_until_it_knows(port, name, master.replicas, timeout_s)
                for port in ports
                for name, master in masters.items()
            )
        )
        for process in processes:
            keep_running(process)
        yield
    finally:
        await asyncio.gather(*(stop(process) for process in processes))


def _configuration(folder: Path, port: int, masters: Mapping[str, WatchedMaster]) -> str:
    own = f"port {port}\nbind {LOOPBACK}\ndir {quoted(str(folder.resolve()))}\nlogfile {LOG_NAME}\n"
    return own + "".join(
        f"sentinel monitor {name} {LOOPBACK} {master.port} {QUORUM}\n"
        f"sentinel down-after-milliseconds {name} {DOWN_AFTER_MS}\n"
        f"sentinel failover-timeout {name} {FAILOVER_TIMEOUT_MS}\n"
        f"sentinel parallel-syncs {name} 1\n"
        for name, master in masters.items()
    )


async def _wait_until_it_knows(port: int, name: str, replicas: int, timeout_s: float) -> None:
    give_up_at = time.monotonic() + timeout_s
    client = Redis(host=LOOPBACK, port=port, protocol=2, socket_timeout=1, socket_connect_timeout=1)
    try:
        while time.monotonic() < give_up_at:
            try:
                flat = await execute(client, "SENTINEL", "MASTER", name)
            except (foreign.RedisError, OSError):
                flat = []
            found = dict(zip(flat[::2], flat[1::2], strict=True))
            known = (found.get(b"num-slaves"), found.get(b"num-other-sentinels"))
            if known == (str(replicas).encode(), str(SENTINELS - 1).encode()):
                return
            await asyncio.sleep(POLL_INTERVAL_S)
    finally:
        await client.aclose()
    raise EmbeddedRedisError(
        f"The embedded Sentinels did not find each other within {timeout_s:g} s "
        "(MEMORY_EMBEDDED_START_TIMEOUT_S): see sentinel-1/sentinel.log in MEMORY_DATA_DIR."
    )
