"""Copies of agents' memories in this process, kept current by the agents' change feeds.

A copy is read once, in the background, after its agent was asked for often enough. Until then, and
while other processes' writes may be missed, the caller asks Redis.
"""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from app.errors import MemoryServiceError, PositionLost
from app.feed.position import Position
from app.feed.stream import ChangeStreams
from app.nodes.changes import Freshness
from app.read_path.versions import PartitionVersions
from app.storage.episodic import VECTOR_FIELDS
from app.storage.index import Indexes, partition_of
from app.transfer.read_memory import HashWalk

logger = logging.getLogger(__name__)

PAGE_ROWS = 100
"""Rows read and decoded at a time while a copy is filled: a millisecond of the event loop."""
CHANGES = 250
"""Memories read from a feed at a time."""
IDLE_S = 300.0
"""A copy that nobody uses is dropped, unless it is the only one."""
BUSY_S = 60.0
"""A copy that was used since is not dropped for another one. Each would be read again and again."""
BOUND_EVERY_S = 1.0
WANTED_AGAIN_S = 60.0
"""Longest time between two questions that both count."""
MAX_WANTED = 10_000
"""Agents whose questions are counted."""
NO_VERSION = -1


class Table(Protocol):
    """A copy of one agent's memory, row by row."""

    def __len__(self) -> int:
        """Return how many memories it has."""

    @property
    def size_bytes(self) -> int:
        """Return approximately how much memory it takes."""

    def put(self, seq: int, record: bytes, vectors: Mapping[str, bytes]) -> None:
        """Store a memory as it is now."""

    def delete(self, memory_id: str) -> None:
        """Drop a memory."""


TableT = TypeVar("TableT", bound=Table)
TableT_co = TypeVar("TableT_co", bound=Table, covariant=True)


class TableKind(Protocol[TableT_co]):
    """What kind of tables to keep."""

    async def prepare(self) -> None:
        """Do what takes long before the first table."""

    def empty(self) -> TableT_co:
        """Return an empty table."""


@dataclass(frozen=True, slots=True)
class FeedSources:
    """What copies are read from, and what says whether they are current."""

    streams: ChangeStreams
    walk: HashWalk
    indexes: Indexes
    versions: PartitionVersions
    freshness: Freshness


class KeptTable(Generic[TableT]):
    """A table, the position in its agent's feed, and the memory's version at that position."""

    def __init__(self, table: TableT, position: Position) -> None:
        self.table = table
        self.version = NO_VERSION
        self.used_at_s = self.compared_at_s = time.monotonic()
        self.turn = asyncio.Lock()
        """Held while the feed is read, by one reader at a time."""
        self._position = position
        self._stale_asks = 0
        self._follower: asyncio.Task[None] | None = None

    def use(self) -> TableT:
        """Return the table, and record that it was used."""
        self.used_at_s = time.monotonic()
        return self.table

    def count_stale(self) -> int:
        """Count a question that the table could not answer; return how many since it was read."""
        self._stale_asks += 1
        return self._stale_asks

    def follow(self, follower: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have a task keep the table current until it is dropped. Called again, do nothing."""
        if self._follower is None:
            self._follower = asyncio.create_task(follower())

    def close(self) -> None:
        """Stop following."""
        if self._follower is not None:
            self._follower.cancel()

    async def catch_up(self, agent_id: str, source: FeedSources) -> None:
        """Apply all that changed. Raise PositionLost or StorageError.

        The version is read first, so that later changes are read again. It is not that of the table
        while other processes' writes may be missed.
        """
        self._stale_asks = 0
        was_latest = source.freshness.reads_latest(agent_id)
        version, is_all = source.versions.version_of(agent_id), False
        while not is_all:
            reading = await source.streams.read(agent_id, self._position, CHANGES)
            for change in reading.changes:
                if change.memory is None or change.seq is None:
                    self.table.delete(change.id)
                else:
                    self.table.put(change.seq, change.memory.record, change.memory.vectors)
            self._position, is_all = reading.next, reading.is_all
        is_latest = was_latest and source.freshness.reads_latest(agent_id)
        self.version = version if is_latest else NO_VERSION

    async def is_whole(self, agent_id: str, source: FeedSources) -> bool:
        """Return whether Redis has as many memories as the table. Raise StorageError.

        If the table is not current, or no longer, that cannot be known: True, to be compared again.
        """
        count = await source.walk.count([partition_of(source.indexes, agent_id)])
        if self.version != source.versions.version_of(agent_id):
            return True
        self.compared_at_s = time.monotonic()
        return count == len(self.table)


class KeptTables(Generic[TableT]):
    """Tables by agent, about `max_bytes` in all; the least recently used are dropped first.

    A table is filled once an agent was asked for `asks` times, each within a minute of the one
    before. Agents with more than `max_rows` memories have none.
    """

    def __init__(
        self,
        source: FeedSources,
        kind: TableKind[TableT],
        *,
        asks: int,
        max_bytes: int,
        max_rows: float = math.inf,
    ) -> None:
        self._source = source
        self._kind = kind
        self._asks = asks
        self._max_bytes = max_bytes
        self._max_rows = max_rows
        self._kept: OrderedDict[str, KeptTable[TableT]] = OrderedDict()
        self._wanted: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._refused: OrderedDict[str, float] = OrderedDict()
        self._filling: asyncio.Task[None] | None = None
        self._bounded_at_s = -math.inf

    def get(self, agent_id: str) -> KeptTable[TableT] | None:
        """Return the agent's table, current or not. None until there is one."""
        return self._kept.get(agent_id)

    def use(self, agent_id: str, kept: KeptTable[TableT]) -> TableT:
        """Return the table. From now on it is the most recently used one."""
        self._kept.move_to_end(agent_id)
        return kept.use()

    def want(self, agent_id: str) -> None:
        """Fill a table for an agent that is asked for again and again."""
        now_s = time.monotonic()
        asks, before_s = self._wanted.pop(agent_id, (0, 0.0))
        asks = 1 if now_s - before_s > WANTED_AGAIN_S else asks + 1
        _remember(self._wanted, agent_id, (asks, now_s))
        is_refused = now_s - self._refused.get(agent_id, -math.inf) < IDLE_S
        if asks >= self._asks and self._filling is None and not is_refused:
            self._filling = asyncio.create_task(self._fill(agent_id))

    def drop(self, agent_id: str) -> None:
        """Forget a table."""
        kept = self._kept.pop(agent_id, None)
        if kept is not None:
            kept.close()

    def bound(self) -> None:
        """Drop the tables that are too much, the least recently used ones first, and idle ones.

        Called again within a second, do nothing: it looks at all tables.
        """
        if time.monotonic() < self._bounded_at_s + BOUND_EVERY_S:
            return
        self._bounded_at_s = time.monotonic()
        total = sum(kept.table.size_bytes for kept in self._kept.values())
        idle_since_s = time.monotonic() - IDLE_S
        for agent_id, kept in list(self._kept.items()):
            is_too_much = total > self._max_bytes or len(kept.table) > self._max_rows
            if is_too_much or (len(self._kept) > 1 and kept.used_at_s < idle_since_s):
                total -= kept.table.size_bytes
                self.drop(agent_id)

    async def aclose(self) -> None:
        """Stop filling and following tables."""
        for agent_id in list(self._kept):
            self.drop(agent_id)
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)

    async def _fill(self, agent_id: str) -> None:
        streams = self._source.streams
        _remember(self._refused, agent_id, time.monotonic())  # also if the kind cannot be prepared
        try:
            position = await streams.begin(agent_id)
            table = await self._read(agent_id)
            if table is None:
                return
            self._refused.pop(agent_id, None)
            if await streams.history(agent_id) == position.history:
                kept = KeptTable(table, position)
                await kept.catch_up(agent_id, self._source)
                self._kept[agent_id] = kept
                self.bound()
        except PositionLost:
            self._refused.pop(agent_id, None)  # it is asked for again
        except MemoryServiceError as error:
            self._refused.pop(agent_id, None)
            logger.warning("no copy of a memory: %s", error.detail)
        finally:
            self._filling = None

    async def _read(self, agent_id: str) -> TableT | None:
        """Return a copy of all memories. None if there is no room for it."""
        await self._kind.prepare()
        table = self._kind.empty()
        room = self._max_bytes - self._busy_bytes()
        partition = partition_of(self._source.indexes, agent_id)
        pages = self._source.walk.pages(partition, after_seq=0, page_rows=PAGE_ROWS)
        async for page in pages:
            for row in page:
                vectors = {n: row.fields[n] for n in VECTOR_FIELDS if n in row.fields}
                table.put(row.seq, row.fields["record"], vectors)
            if table.size_bytes > room or len(table) > self._max_rows:
                return None
        return table

    def _busy_bytes(self) -> int:
        """Return the size of the tables in use, which make no room for others."""
        since_s = time.monotonic() - BUSY_S
        busy = [kept.table for kept in self._kept.values() if kept.used_at_s >= since_s]
        return sum(table.size_bytes for table in busy)


ValueT = TypeVar("ValueT")


def _remember(kept: OrderedDict[str, ValueT], agent_id: str, value: ValueT) -> None:
    """Set a value as the latest one, and forget the oldest beyond the limit."""
    kept[agent_id] = value
    kept.move_to_end(agent_id)
    if len(kept) > MAX_WANTED:
        kept.popitem(last=False)
