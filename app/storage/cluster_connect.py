"""A Redis Cluster found, checked and followed."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext

from redis.asyncio import Redis

from app.errors import ConfigurationError
from app.settings import Settings
from app.storage.client import create_redis
from app.storage.cluster import ClusterShards, ClusterWatch
from app.storage.engine import require_engine
from app.storage.engine_options import EngineOptions
from app.storage.index import Indexes
from app.storage.node_factory import NodeFactory
from app.storage.nodes import NodeMonitor
from app.storage.redis_node import RedisNode
from app.storage.shard import Shard


async def connect_cluster(
    settings: Settings,
    seeds: Sequence[str],
    stack: AsyncExitStack,
    *,
    index_wait_s: float,
) -> tuple[ClusterShards, Indexes]:
    """The shards, followed from now on, and the indexes on them; closed by the stack.

    Raises StartError when the cluster is not fit or what is
    stored does not fit the settings.
    """
    if settings.layout == "shared":
        raise ConfigurationError(
            "MEMORY_LAYOUT shared is one index over all agents, which a Redis Cluster cannot have: "
            "set MEMORY_LAYOUT to per_agent."
        )
    shards = ClusterShards()
    indexes = Indexes(
        shards,
        layout=settings.layout,
        dimension=settings.dimension,
        vector_type=settings.vector_type,
        wait_s=index_wait_s,
    )
    shards.when_slots_move(indexes.forget)
    watch = _watch(settings, seeds, shards, NodeFactory(settings, indexes))
    await stack.enter_async_context(watch.opened())
    options = EngineOptions(indexes.stored_as)
    for shard in shards:
        await require_engine(shard.master.client, options)
    await indexes.verify()

    @asynccontextmanager
    async def attend(shard: Shard) -> AsyncIterator[None]:
        monitor = NodeMonitor(
            shard,
            interval_s=settings.node_poll_interval_ms / 1000,
            max_lag_bytes=settings.replica_max_lag_bytes,
            options=options,
        )
        shard.when_master_changes(indexes.forget)
        async with monitor.watching():
            yield

    await stack.enter_async_context(watch.watching(attend))
    return shards, indexes


async def look_at_cluster(
    settings: Settings, seeds: Sequence[str], stack: AsyncExitStack
) -> ClusterShards:
    """The shards, followed from now on, for commands that change nothing. Raises StartError."""
    shards = ClusterShards()
    indexes = Indexes(
        shards,
        layout=settings.layout,
        dimension=settings.dimension,
        vector_type=settings.vector_type,
        wait_s=settings.index_wait_s,
    )
    watch = _watch(settings, seeds, shards, NodeFactory(settings, indexes))
    await stack.enter_async_context(watch.opened())
    await stack.enter_async_context(watch.watching(lambda _: nullcontext()))
    return shards


def _watch(
    settings: Settings, seeds: Sequence[str], shards: ClusterShards, factory: NodeFactory
) -> ClusterWatch:
    def make(name: str, url: str, is_master: bool) -> RedisNode:
        return factory.make(
            name, url, is_master=is_master, has_fixed_role=False, is_in_cluster=True
        )

    def connect(url: str) -> Redis:
        return create_redis(url, client_name="coinswarm-memory", settings=settings)

    interval_s = settings.node_poll_interval_ms / 1000
    return ClusterWatch(shards, seeds, make_node=make, connect=connect, interval_s=interval_s)
