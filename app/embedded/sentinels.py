"""The Sentinels of the embedded Redis, and the master that they last named."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
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
from app.embedded.rejoin import MASTER_NAME
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
AGREE_TIMEOUT_S = 30.0

_MONITOR = re.compile(rf"^sentinel monitor {MASTER_NAME} \S+ (\d+)", re.MULTILINE)
_EPOCH = re.compile(rf"^sentinel config-epoch {MASTER_NAME} (\d+)", re.MULTILINE)
_PORT = re.compile(r'^port "?(\d+)"?', re.MULTILINE)


def last_master(data_dir: Path) -> str | None:
    """Return the node that was master when Sentinels last ran here. None if they never did."""
    confs = [
        path.read_text("utf-8", "replace") for path in data_dir.glob(f"sentinel-*/{CONF_NAME}")
    ]
    views = [
        (int(epoch[1]) if epoch else 0, int(monitor[1]))
        for conf in confs
        if (monitor := _MONITOR.search(conf))
        for epoch in [_EPOCH.search(conf)]
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
    master_port: int,
    replicas: int,
) -> AsyncIterator[None]:
    """Run Sentinels, and yield once they know the master, its replicas and each other.

    Raise EmbeddedRedisError.
    """
    processes = []
    try:
        for number, port in enumerate(ports, 1):
            folder = data_dir / f"sentinel-{number}"
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            conf = folder / CONF_NAME
            conf.write_text(_configuration(folder, port, master_port))
            processes.append(
                await spawn_guarded(
                    [str(binaries.server), str(conf), "--sentinel"],
                    folder / LOG_NAME,
                    lock_descriptor,
                    pause_s=RESTART_PAUSE_S,
                )
            )
        await asyncio.gather(*(_wait_until_it_knows(port, replicas) for port in ports))
        for process in processes:
            keep_running(process)
        yield
    finally:
        await asyncio.gather(*(stop(process) for process in processes))


def _configuration(folder: Path, port: int, master_port: int) -> str:
    return (
        f"port {port}\n"
        f"bind {LOOPBACK}\n"
        f"dir {quoted(str(folder.resolve()))}\n"
        f"logfile {LOG_NAME}\n"
        f"sentinel monitor {MASTER_NAME} {LOOPBACK} {master_port} {QUORUM}\n"
        f"sentinel down-after-milliseconds {MASTER_NAME} {DOWN_AFTER_MS}\n"
        f"sentinel failover-timeout {MASTER_NAME} {FAILOVER_TIMEOUT_MS}\n"
        f"sentinel parallel-syncs {MASTER_NAME} 1\n"
    )


async def _wait_until_it_knows(port: int, replicas: int) -> None:
    give_up_at = time.monotonic() + AGREE_TIMEOUT_S
    client = Redis(host=LOOPBACK, port=port, protocol=2, socket_timeout=1, socket_connect_timeout=1)
    try:
        while time.monotonic() < give_up_at:
            try:
                flat = await execute(client, "SENTINEL", "MASTER", MASTER_NAME)
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
        f"The embedded Sentinels did not find each other within {AGREE_TIMEOUT_S:g} s: see "
        "sentinel-1/sentinel.log in MEMORY_DATA_DIR."
    )
