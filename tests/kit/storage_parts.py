"""The storage on one Redis, without a service around it."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from redis.asyncio import Redis

from app.nodes.reads import ReadRouter
from app.nodes.shard import Shards, lone_shard
from app.storage.index import Indexes
from app.storage.listing import MemoryQuery
from app.storage.memories import MemoryStore
from app.storage.semantic import ConceptStore, Kept
from tests.conftest import DIMENSION


class NoGuards:
    """Lets every call to a node through."""

    def guard(self, _: str) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()


@dataclass(frozen=True)
class StorageParts:
    """What the memory's operations are built on."""

    redis: Redis
    shards: Shards
    indexes: Indexes
    reads: ReadRouter
    store: MemoryStore
    query: MemoryQuery
    moved: list[str]


def storage_parts(redis: Redis, layout: str = "per_agent") -> StorageParts:
    """All parts; `moved` collects the partitions that were written to."""
    shards = lone_shard(redis)
    indexes = Indexes(
        shards,
        layout="shared" if layout == "shared" else "per_agent",
        dimension=DIMENSION,
        wait_s=5,
    )
    readable = ReadRouter(shards, NoGuards())
    moved: list[str] = []
    store = MemoryStore(shards, readable, guards=NoGuards(), invalidate=moved.append)
    query = MemoryQuery(readable, indexes=indexes, timeout_ms=1000)
    return StorageParts(redis, shards, indexes, readable, store, query, moved)


def semantic_store(parts: StorageParts) -> ConceptStore:
    """Concepts in these parts."""
    kept = Kept(changes=1000, seconds=86_400)
    return ConceptStore(parts.store, parts.indexes, parts.query, kept=kept)
