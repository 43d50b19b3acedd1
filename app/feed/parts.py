"""The parts of the change feed, created once per process."""

import math
from contextlib import AsyncExitStack
from dataclasses import dataclass

from app.feed.kept import FeedSources
from app.feed.replay import KeptReplays
from app.feed.search import SearchTables
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
    """The streams of changes, the walk through all memories, and the copies kept by both."""

    streams: ChangeStreams
    walk: HashWalk
    to_draw_from: KeptReplays
    to_search: SearchTables


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
    source = FeedSources(streams, walk, indexes, versions, freshness)
    to_draw_from = KeptReplays(
        source,
        signal,
        dimension=settings.dimension,
        max_bytes=settings.sample_tables_max_bytes,
    )
    stack.push_async_callback(to_draw_from.aclose)
    to_search = SearchTables(
        source,
        dimension=settings.dimension,
        max_rows=settings.hnsw_threshold or math.inf,
        max_bytes=settings.resident_max_bytes,
    )
    stack.push_async_callback(to_search.aclose)
    return Feeds(streams, walk, to_draw_from, to_search)
