"""Tables of agents' experiences for samples, kept current by the agents' change feeds.

A table is read once, in the background, after an agent's experiences were drawn twice. Until then,
and while other processes' writes may be missed, samples are drawn from Redis.

A change is applied when it is announced, if the table was drawn from since the previous one. So few
draws wait for Redis, and a table that nobody draws from costs nothing.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from app.errors import MemoryServiceError, Overloaded, PositionLost
from app.feed.position import Position
from app.feed.stream import ChangeStreams
from app.feed.waiting import ChangeSignal
from app.memory.replay import ReplayTable
from app.nodes.changes import Freshness
from app.read_path.versions import PartitionVersions
from app.storage.episodic import VECTOR_FIELDS
from app.storage.index import Indexes, partition_of
from app.transfer.read_memory import HashWalk

logger = logging.getLogger(__name__)

PAGE_ROWS = 100
"""Rows read and decoded at a time while a table is filled: a millisecond of the event loop."""
CHANGES = 250
IDLE_S = 300.0
"""A table that nobody draws from is dropped."""
WANTED_AGAIN_S = 60.0
MAX_WANTED = 10_000
NO_VERSION = -1
ECHO_TURNS = 4
"""Turns of the event loop in which Redis announces a write that this process has just confirmed.
Announced after a reading began, it would cause another one, of nothing."""


class _Kept:
    """A table, the position in its agent's feed, and the memory's version at that position."""

    def __init__(self, table: ReplayTable, position: Position) -> None:
        self.table = table
        self.position = position
        self.version = NO_VERSION
        self.drawn_at_s = 0.0
        self.turn = asyncio.Lock()
        self._is_wanted = False

    def want(self) -> None:
        """Have the next change applied when it is announced."""
        self._is_wanted = True

    def take_wanted(self) -> bool:
        """Return whether the next change is to be applied, once."""
        is_wanted, self._is_wanted = self._is_wanted, False
        return is_wanted


class KeptTables:
    """Tables by agent, about `max_bytes` in all; the least recently used are dropped first."""

    def __init__(
        self,
        streams: ChangeStreams,
        walk: HashWalk,
        indexes: Indexes,
        versions: PartitionVersions,
        *,
        freshness: Freshness,
        signal: ChangeSignal,
        dimension: int,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._streams = streams
        self._walk = walk
        self._indexes = indexes
        self._versions = versions
        self._freshness = freshness
        self._signal = signal
        self._dimension = dimension
        self._max_bytes = max_bytes
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._wanted: OrderedDict[str, float] = OrderedDict()
        self._too_large: dict[str, float] = {}
        self._filling: dict[str, asyncio.Task[None]] = {}
        self._following: dict[str, asyncio.Task[None]] = {}

    async def current(self, agent_id: str) -> ReplayTable | None:
        """Return the agent's table with all that was confirmed before this call.

        Return None without a table, or if other processes' writes may be missed. Raise
        StorageError.
        """
        if not self._freshness.reads_latest(agent_id):
            return None
        kept = self._kept.get(agent_id)
        if kept is None:
            self._want(agent_id)
            return None
        kept.want()
        try:
            await self._catch_up(agent_id, kept)
        except PositionLost:
            self._drop(agent_id)
            return None
        if not self._freshness.reads_latest(agent_id) or self._kept.get(agent_id) is not kept:
            return None
        self._kept.move_to_end(agent_id)
        kept.drawn_at_s = self._clock()
        self._bound()
        return kept.table

    async def aclose(self) -> None:
        """Stop filling and following tables."""
        tasks = [*self._filling.values(), *self._following.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, agent_id: str, kept: _Kept) -> None:
        """Apply the first change after each draw when it is announced. The next draw reports
        failures."""
        with suppress(Overloaded), self._signal.watching(agent_id) as changed:
            while True:
                await changed.wait()
                changed.clear()
                if kept.take_wanted():
                    with suppress(MemoryServiceError):
                        await self._catch_up(agent_id, kept)

    async def _catch_up(self, agent_id: str, kept: _Kept) -> None:
        """Apply what changed. The version is read first, so that later changes are read again."""
        async with kept.turn:
            if self._versions.version_of(agent_id) != kept.version:
                for _ in range(ECHO_TURNS):
                    await asyncio.sleep(0)
            version = self._versions.version_of(agent_id)
            while version != kept.version:
                reading = await self._streams.read(agent_id, kept.position, CHANGES)
                for change in reading.changes:
                    if change.memory is None or change.seq is None:
                        kept.table.delete(change.id)
                    else:
                        kept.table.put(change.seq, change.memory.record, change.memory.vectors)
                kept.position = reading.next
                if reading.is_all:
                    kept.version = version

    def _drop(self, agent_id: str) -> None:
        """Forget a table."""
        self._kept.pop(agent_id, None)
        follower = self._following.pop(agent_id, None)
        if follower is not None:
            follower.cancel()

    def _want(self, agent_id: str) -> None:
        """Fill a table for an agent that is drawn from again and again."""
        now_s = self._clock()
        before_s = self._wanted.pop(agent_id, None)
        self._wanted[agent_id] = now_s
        if len(self._wanted) > MAX_WANTED:
            self._wanted.popitem(last=False)
        refused_s = self._too_large.get(agent_id)
        if refused_s is not None and now_s - refused_s < IDLE_S:
            return
        if before_s is None or now_s - before_s > WANTED_AGAIN_S or self._filling:
            return
        task = asyncio.create_task(self._fill(agent_id))
        self._filling[agent_id] = task
        task.add_done_callback(lambda _: self._filling.pop(agent_id, None))

    async def _fill(self, agent_id: str) -> None:
        try:
            position = await self._streams.begin(agent_id)
            table = await self._read(agent_id)
            if table is None:
                self._too_large[agent_id] = self._clock()
            elif await self._streams.history(agent_id) == position.history:
                kept = self._kept[agent_id] = _Kept(table, position)
                self._following[agent_id] = asyncio.create_task(self._follow(agent_id, kept))
        except MemoryServiceError as error:
            logger.warning("no table for samples: %s", error.detail)

    async def _read(self, agent_id: str) -> ReplayTable | None:
        """Return all closed experiences. None if they take more memory than all tables may."""
        table = ReplayTable(self._dimension)
        partition = partition_of(self._indexes, agent_id)
        pages = self._walk.pages(partition, after_seq=0, page_rows=PAGE_ROWS)
        async for page in pages:
            for row in page:
                vectors = {n: row.fields[n] for n in VECTOR_FIELDS if n in row.fields}
                table.put(row.seq, row.fields["record"], vectors)
            if table.size_bytes > self._max_bytes:
                return None
        return table

    def _bound(self) -> None:
        total = sum(kept.table.size_bytes for kept in self._kept.values())
        idle_since_s = self._clock() - IDLE_S
        for agent_id, kept in list(self._kept.items())[:-1]:
            if total <= self._max_bytes and kept.drawn_at_s >= idle_since_s:
                break
            total -= kept.table.size_bytes
            self._drop(agent_id)
