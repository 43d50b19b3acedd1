"""Creates the nodes of the memory from their addresses, checks them, and starts following their
roles."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from app.errors import StorageError
from app.log_config import is_tracing
from app.nodes.addresses import Addresses
from app.nodes.client import create_redis
from app.nodes.engine_options import EngineOptions
from app.nodes.health import require_alone, require_engine
from app.nodes.monitor import IndexesReady, NodeMonitor
from app.nodes.node import MASTER, REPLICA, RedisNode
from app.nodes.sentinel import Address, SentinelRoles, Sentinels, url_of
from app.nodes.shard import Shard, Shards
from app.nodes.shared_connection import SharedConnection
from app.settings import Settings
from app.vectors import VectorFormat

CLIENT_NAME = "coinswarm-memory"
PROBE_CONNECTIONS = 5
"""For health checks, readiness, the change channel and API keys."""


class NodeFactory:
    """Creates nodes. The caller closes each with `node.aclose()`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def make(
        self, name: str, url: str, *, is_master: bool, has_fixed_role: bool = True
    ) -> RedisNode:
        """Return a node that is not connected yet. Raise ConfigurationError for an invalid
        address."""
        settings = self._settings
        create = partial(create_redis, client_name=CLIENT_NAME, settings=settings)
        client, shared = create(url), None
        if not is_tracing():  # traces follow the client's own calls
            shared = SharedConnection(client, read_timeout_s=settings.redis_read_timeout_s)
        return RedisNode(
            name,
            client=client,
            waiting=create(url),
            probe=create(url, max_connections=PROBE_CONNECTIONS),
            is_master=is_master,
            has_fixed_role=has_fixed_role,
            shared=shared,
        )

    def make_static(self, urls: Sequence[str]) -> list[RedisNode]:
        """Return the master at the first address, then its replicas, named `master`, `replica-1`,
        ..."""
        names = [MASTER, *(f"{REPLICA}-{number}" for number in range(1, len(urls)))]
        return [
            self.make(name, url, is_master=name == MASTER)
            for name, url in zip(names, urls, strict=True)
        ]


class Nodes:
    """The nodes of a memory, found and checked, whose roles can be followed."""

    def __init__(
        self,
        shards: Shards,
        settings: Settings,
        options: EngineOptions,
        roles: SentinelRoles | None,
    ) -> None:
        self.shards = shards
        self._settings = settings
        self._options = options
        self._roles = roles

    @asynccontextmanager
    async def watching(self, indexes_ready: IndexesReady) -> AsyncIterator[None]:
        """Check the nodes and follow their roles while the context is open."""
        async with AsyncExitStack() as stack:
            for shard in self.shards:
                monitor = NodeMonitor(
                    shard,
                    interval_s=self._settings.node_poll_interval_ms / 1000,
                    max_lag_bytes=self._settings.replica_max_lag_bytes,
                    options=self._options,
                    indexes_ready=indexes_ready,
                )
                await stack.enter_async_context(monitor.watching())
                if self._roles is not None:
                    await stack.enter_async_context(self._roles.following(monitor.look))
            yield


async def connect(settings: Settings, addresses: Addresses, stack: AsyncExitStack) -> Nodes:
    """Find the nodes and check that they can be used. The stack closes them.

    Raise StartError if Redis is not suitable.
    """
    shard = Shard(is_replicated=addresses.has_replicas)
    factory = NodeFactory(settings)
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
    await asyncio.gather(*(_require_alone_if_there(node) for node in shard.replicas))
    options = EngineOptions(VectorFormat(settings.dimension, settings.vector_type))
    await require_engine(shard.master.client, options)
    return Nodes(Shards([shard]), settings, options, roles)


async def _require_alone_if_there(replica: RedisNode) -> None:
    """Raise ConfigurationError for a node in cluster mode. One that is down passes for now."""
    with suppress(StorageError):
        await require_alone(replica.probe)


def _make(
    factory: NodeFactory, sentinel_url: str, settings: Settings, address: Address, is_master: bool
) -> RedisNode:
    host, port = address
    url = url_of(address, sentinel_url, settings)
    return factory.make(f"{host}:{port}", url, is_master=is_master, has_fixed_role=False)
