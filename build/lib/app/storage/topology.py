"""The nodes of the memory, found, checked and looked after."""

from contextlib import AsyncExitStack
from functools import partial

from app.settings import Settings
from app.storage.addresses import Addresses
from app.storage.assumptions import require_assumptions
from app.storage.engine import require_alone, require_engine
from app.storage.engine_options import EngineOptions
from app.storage.index import Indexes
from app.storage.node_factory import NodeFactory
from app.storage.nodes import NodeMonitor
from app.storage.redis_node import RedisNode
from app.storage.sentinel import Address, Sentinels, url_of
from app.storage.sentinel_roles import SentinelRoles
from app.storage.shard import Shard, Shards


async def connect(
    settings: Settings, addresses: Addresses, stack: AsyncExitStack
) -> tuple[Shards, Indexes]:
    """The shards, their roles followed, and the indexes on them; closed by the stack.

    Raises StartError when Redis is not fit or what is stored does not fit the settings.
    """
    shard = Shard(is_replicated=addresses.has_replicas)
    shards = Shards([shard])
    indexes = Indexes(
        shards,
        layout=settings.layout,
        dimension=settings.dimension,
        vector_type=settings.vector_type,
        wait_s=settings.index_wait_s,
    )
    shard.when_master_changes(indexes.forget)
    factory = NodeFactory(settings, indexes)
    roles = None
    if addresses.sentinels:
        sentinels = Sentinels(addresses.sentinels, addresses.master_name, settings)
        make = partial(_make, factory, addresses.sentinels[0], settings)
        roles = SentinelRoles(shard, sentinels, make)
        stack.push_async_callback(roles.aclose)
        await roles.begin()
    else:
        master, *replicas = factory.make_static(addresses.nodes)
        for node in (master, *replicas):
            stack.push_async_callback(node.aclose)
        shard.set_roles(master, replicas)
    await require_alone(shard.master.client)
    options = EngineOptions(indexes.stored_as)
    await require_engine(shard.master.client, options)
    await require_assumptions(shard.master.client, indexes.stored_as)
    await indexes.verify()
    monitor = NodeMonitor(
        shard,
        interval_s=settings.node_poll_interval_ms / 1000,
        max_lag_bytes=settings.replica_max_lag_bytes,
        options=options,
    )
    await stack.enter_async_context(monitor.watching())
    if roles is not None:
        await stack.enter_async_context(roles.following(monitor.look))
    return shards, indexes


def _make(
    factory: NodeFactory, sentinel_url: str, settings: Settings, address: Address, is_master: bool
) -> RedisNode:
    host, port = address
    url = url_of(address, sentinel_url, settings)
    return factory.make(f"{host}:{port}", url, is_master=is_master, has_fixed_role=False)
