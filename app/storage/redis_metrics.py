"""Reads Redis's own metrics in the background, so that a scrape of /metrics costs Redis nothing.

INFO is read every `interval_s`. Indexes are read slice by slice, each followed by a pause of
PAUSE_FACTOR times its duration, so that thousands of them take at most a thirtieth of Redis's and
this process's time. Their metrics are as old as one pass takes (2,000 indexes: 34 s on a busy
machine) plus `interval_s`. Of several worker processes one reads.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import keys, metrics
from app.errors import MemoryServiceError
from app.nodes.commands import Words, slices
from app.nodes.engine_options import engine_version
from app.nodes.jobs import periodically
from app.nodes.node import RedisNode
from app.nodes.redis_errors import translated
from app.nodes.shard import Shard, Shards
from app.storage.index_info import ask_with_infos, own_index_names, parse_info
from app.storage.slowlog import note_slower_than

logger = logging.getLogger(__name__)

SLICE = 5
"""Indexes per round trip. Parsing their replies blocks this process for 1 ms."""
PAUSE_FACTOR = 30
CALL_TIMEOUT_S = 2.0
_OPEN = "-@reward:[-inf inf]"
"""Matches memories without a reward."""
_AWAY = (MemoryServiceError, OSError, TimeoutError)


@dataclass(slots=True)
class _IndexSums:
    documents: int = 0
    size_bytes: int = 0
    failures: int = 0
    open_memories: int = 0
    progress: float = 1.0


class LeaderLock:
    """A lock on a file in `folder` that one process holds at a time. With None there is one
    process.

    The kernel releases it when its holder dies.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._files = ExitStack()
        self._is_mine = folder is None

    def is_mine(self) -> bool:
        """Take the lock if it is free. Return whether this process holds it."""
        if not self._is_mine and self._folder is not None:
            with contextlib.suppress(OSError), ExitStack() as opened:
                file = opened.enter_context((self._folder / "figures.lock").open("a"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._files = opened.pop_all()
                self._is_mine = True
        return self._is_mine

    def close(self) -> None:
        """Release the lock."""
        self._files.close()
        self._is_mine = False


class RedisMetrics:
    """Keeps Redis's metrics up to date, and its slow log as the settings want it."""

    def __init__(
        self,
        shards: Shards,
        *,
        interval_s: float,
        slower_than_us: int,
    ) -> None:
        self._shards = shards
        self._interval_s = interval_s
        self._slower_than_us = slower_than_us
        folder = os.environ.get(metrics.METRICS_FOLDER)
        self._turn = LeaderLock(Path(folder) if folder else None)
        self._runs: dict[str, str] = {}
        self._dropped: dict[tuple[str, str], int] = {}
        self._memory: dict[str, tuple[int, int]] = {}
        self._sums: dict[str, _IndexSums] = {}

    @asynccontextmanager
    async def collecting(self) -> AsyncIterator[None]:
        """Read once, then continue while the context is open."""
        await self._look()
        try:
            async with (
                periodically(self._look, self._interval_s, "reading metrics"),
                periodically(self._walk, self._interval_s, "reading indexes", begins_at_once=True),
            ):
                yield
        finally:
            self._turn.close()

    async def _look(self) -> None:
        metrics.CONNECTIONS.set(sum(_connections(node) for node in self._shards.nodes))
        self._look_at_groups()
        if self._turn.is_mine():
            await asyncio.gather(*(self._look_at(node) for node in self._shards.nodes))

    def _look_at_groups(self) -> None:
        for name, agents in self._shards.counts().items():
            metrics.GROUP_AGENTS.labels(name).set(agents)
        for shard in self._shards:
            if shard.name:
                is_up = shard.has_master and shard.master.status.is_up
                metrics.GROUP_UP.labels(shard.name).set(is_up)

    async def _look_at(self, node: RedisNode) -> None:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                with translated():
                    info = await node.probe.info("server", "memory", "stats")
                    if self._runs.get(node.name) != info["run_id"]:
                        # A restarted node has lost this setting.
                        await note_slower_than(node.probe, node.name, self._slower_than_us)
                        self._runs[node.name] = info["run_id"]
        except _AWAY as error:
            logger.debug("no metrics", extra={"node": node.name, "cause": repr(error)})
            return
        if node in self._masters:
            self._show(node.name, info)

    @property
    def _masters(self) -> list[RedisNode]:
        return list(self._shards.masters)

    def _show(self, master: str, info: Mapping[str, Any]) -> None:
        """Set the sums over the masters. An unavailable master's last values stay in them."""
        self._memory[master] = (int(info["used_memory"]), int(info["maxmemory"]))
        for shard in self._shards:
            if shard.name and shard.has_master and shard.master.name == master:
                metrics.GROUP_USED_BYTES.labels(shard.name).set(info["used_memory"])
                metrics.GROUP_LIMIT_BYTES.labels(shard.name).set(info["maxmemory"])
        known = [self._memory[m.name] for m in self._masters if m.name in self._memory]
        metrics.USED_BYTES.set(sum(used for used, _ in known))
        metrics.LIMIT_BYTES.set(sum(limit for _, limit in known))
        metrics.EVICTED_KEYS.inc(self._grown_by("evicted_keys", master, info))
        metrics.EXPIRED_KEYS.inc(self._grown_by("expired_keys", master, info))

    def _grown_by(self, name: str, master: str, info: Mapping[str, Any]) -> int:
        """Return the growth of a counter of Redis since the last read. A restart resets it."""
        count = int(info[name])
        before = self._dropped.get((name, master), count)
        self._dropped[name, master] = count
        return count - before if count >= before else count

    async def _walk(self) -> None:
        """Read the indexes of each shard. The last sums of one that is away stay."""
        if not self._turn.is_mine():
            return
        for shard in self._shards:
            try:
                shard.master.require_up()
                self._sums[shard.name] = await self._index_sums(shard)
            except _AWAY as error:
                logger.debug("no metrics of indexes", extra={"cause": repr(error)})
        if self._sums:
            _show_indexes(list(self._sums.values()))

    async def _index_sums(self, shard: Shard) -> _IndexSums:
        sums, master = _IndexSums(), shard.master.probe
        names = await own_index_names(master)
        with translated():
            engine = await engine_version(master)
        second = _built_beside(names)
        for some in slices(names, SLICE):
            started_s = time.monotonic()
            counts: list[Words] = [
                ("FT.SEARCH", name, _OPEN, "LIMIT", 0, 0, "DIALECT", 2)
                for name in some
                if name.startswith(keys.EPISODIC_INDEX) and name not in second
            ]
            infos, counted = await ask_with_infos(master, some, counts)
            _add(sums, [*infos, *counted], second, engine)
            await asyncio.sleep(PAUSE_FACTOR * (time.monotonic() - started_s))
        return sums


def _built_beside(names: Sequence[str]) -> set[str]:
    """Return the indexes built beside a FLAT one during a move; they hold the same memories."""
    known = set(names)
    return {n for n in names if n.endswith(":hnsw") and f"{n.removesuffix('hnsw')}flat" in known}


def _add(sums: _IndexSums, replies: Sequence[Any], second: set[str], engine: int) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            continue  # dropped since the list was read
        if len(reply) == 1:
            sums.open_memories += reply[0]
            continue
        info = parse_info(reply, engine)
        sums.size_bytes += info.size_bytes
        if info.name in second:
            continue
        sums.documents += info.documents
        sums.failures += info.failures
        sums.progress = min(sums.progress, info.progress)


def _show_indexes(sums: Sequence[_IndexSums]) -> None:
    metrics.INDEX_DOCUMENTS.set(sum(one.documents for one in sums))
    metrics.INDEX_BYTES.set(sum(one.size_bytes for one in sums))
    metrics.INDEX_FAILURES.set(sum(one.failures for one in sums))
    metrics.INDEX_PROGRESS.set(min(one.progress for one in sums))
    metrics.OPEN_MEMORIES.set(sum(one.open_memories for one in sums))


def _connections(node: RedisNode) -> int:
    pools = (c.connection_pool for c in (node.client, node.waiting, node.probe))
    is_shared_open = node.shared is not None and node.shared.is_open
    return is_shared_open + sum(count for pool in pools for count, _ in pool.get_connection_count())
