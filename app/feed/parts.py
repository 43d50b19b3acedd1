"""The parts of the change feed, created once per process."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from app.feed.replay import KeptTables
from app.feed.stream import ChangeStreams
from app.feed.waiting import ChangeSignal
from app.nodes.changes import Freshness
from app.nodes.reads import ReadRouter
from app.nodes.shard import Shards
from app.read_path.versions import PartitionVersions
from app.settings import Settings
from app.storage.index import Indexes
from app.transfer.read_memory import HashWalk


@dataclass(frozen=True, slots=True)
class Feeds:
    """The streams of changes, the walk through all memories, and the tables kept by both."""

    streams: ChangeStreams
    walk: HashWalk
    tables: KeptTables


def feed_parts(
    settings: Settings,
    shards: Shards,
    reads: ReadRouter,
    indexes: Indexes,
    *,
    versions: PartitionVersions,
    freshness: Freshness,
    signal: ChangeSignal,
    stack: AsyncExitStack,
) -> Feeds:
    """Return the parts. The stack closes what must be closed."""
    streams = ChangeStreams(shards, reads, indexes.stored_as, entries=settings.feed_entries)
    walk = HashWalk(shards, indexes, timeout_ms=settings.search_timeout_ms)
    tables = KeptTables(
        streams,
        walk,
        indexes,
        versions,
        freshness=freshness,
        signal=signal,
        dimension=settings.dimension,
        max_bytes=settings.sample_tables_max_bytes,
    )
    stack.push_async_callback(tables.aclose)
    return Feeds(streams, walk, tables)
