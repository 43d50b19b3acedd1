"""Creates the nodes of the memory from their addresses, checks them, and starts following their
roles."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from app.errors import ConfigurationError, MemoryServiceError, StartError, StorageError
from app.log_config import is_tracing
from app.nodes.addresses import Addresses
from app.nodes.client import create_redis
from app.nodes.engine_options import EngineOptions
from app.nodes.groups.membership import (
    Membership,
    is_group,
    join,
    require_member,
    require_ungrouped,
)
from app.nodes.groups.placement import GroupShards
from app.nodes.health import require_alone, require_engine
from app.nodes.jobs import Job, running
from app.nodes.monitor import IndexesReady, NodeMonitor
from app.nodes.node import MASTER, REPLICA, RedisNode
from app.nodes.sentinel import START_WAIT_S, Address, SentinelRoles, Sentinels, url_of
from app.nodes.shard import Shard, Shards
from app.nodes.shared_connection import SharedConnection
from app.settings import Settings
from app.vectors import VectorFormat

logger = logging.getLogger(__name__)

CLIENT_NAME = "coinswarm-memory"
PROBE_CONNECTIONS = 6
"""For health checks, readiness, the change channel, API keys, and one agent's move."""
TRY_AGAIN_S = 1.0
"""How often a group that was away at the start is tried again."""

NodeCheck = Callable[[RedisNode], Awaitable[None]]
"""Raises StartError or StorageError for a master that cannot be used."""


class NodeFactory:
    """Creates nodes. The caller closes each with `node.aclose()`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def make(
        self, name: str, url: str, *, is_master: bool, has_fixed_role: bool = True
    ) -> RedisNode:
        """Return a node, not connected yet. Raise ConfigurationError for an invalid address."""
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

    def make_static(self, urls: Sequence[str], prefix: str = "") -> list[RedisNode]:
        """Return the master at the first address, then its replicas, named `master`, `replica-1`,
        ... after the prefix."""
        names = [MASTER, *(f"{REPLICA}-{number}" for number in range(1, len(urls)))]
        return [
            self.make(f"{prefix}{name}", url, is_master=name == MASTER)
            for name, url in zip(names, urls, strict=True)
        ]


class _NotThere(Exception):
    """A group that cannot be used now, with the sentence that says why."""


class ShardLink:
    """Finds the nodes of one shard, checks them, and follows their roles."""

    def __init__(
        self, shard: Shard, addresses: Addresses, settings: Settings, options: EngineOptions
    ) -> None:
        self.shard = shard
        self._addresses = addresses
        self._settings = settings
        self._options = options
        self._roles: SentinelRoles | None = None

    async def open(self, stack: AsyncExitStack) -> None:
        """Find the nodes and check that they can be used. The stack closes them.

        Raise StartError or StorageError.
        """
        shard, factory = self.shard, NodeFactory(self._settings)
        if self._addresses.sentinels:
            await self._ask_sentinels(factory, stack)
        else:
            prefix = f"{shard.name}/" if shard.name else ""
            master, *replicas = factory.make_static(self._addresses.nodes, prefix)
            for node in (master, *replicas):
                stack.push_async_callback(node.aclose)
            shard.set_roles(master, replicas)
        await require_alone(shard.master.client)
        await asyncio.gather(*(_require_alone_if_there(node) for node in shard.replicas))
        await require_engine(shard.master.client, self._options)

    async def _ask_sentinels(self, factory: NodeFactory, stack: AsyncExitStack) -> None:
        sentinels = Sentinels(
            self._addresses.sentinels, self._addresses.master_name, self._settings
        )
        make = partial(_make, factory, self._addresses.sentinels[0], self._settings)
        self._roles = SentinelRoles(self.shard, sentinels, make)
        stack.push_async_callback(self._roles.aclose)
        await self._roles.begin()

    async def open_if_there(self) -> AsyncExitStack:
        """Open a group. Return what closes its nodes. Raise StartError, or _NotThere."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._patience_s):
                    await self.open(stack)
            except TimeoutError as error:
                self.forget("it did not answer in time.")
                raise _NotThere("it did not answer in time.") from error
            except (StorageError, StartError) as error:
                if not _is_away(error):
                    raise
                self.forget(error.detail)
                raise _NotThere(error.detail) from error
            return stack.pop_all()
        raise AssertionError("unreachable")

    @property
    def _patience_s(self) -> float:
        """A server that hangs accepts connections and answers nothing."""
        settings = self._settings
        asked_s = START_WAIT_S if self._addresses.sentinels else 0.0
        return asked_s + settings.redis_connect_timeout_s + settings.redis_read_timeout_s

    def forget(self, why: str) -> None:
        """Take the group's nodes out of use."""
        self.shard.forget_roles()
        self.shard.note_absence(f"Group {self.shard.name} is away, and its agents with it: {why}")

    @asynccontextmanager
    async def watching(self, indexes_ready: IndexesReady) -> AsyncIterator[None]:
        """Check the nodes and follow their roles while the context is open."""
        async with AsyncExitStack() as stack:
            monitor = NodeMonitor(
                self.shard,
                interval_s=self._settings.node_poll_interval_ms / 1000,
                max_lag_bytes=self._settings.replica_max_lag_bytes,
                options=self._options,
                indexes_ready=indexes_ready,
                is_own=partial(is_group, self.shard.name) if self.shard.name else None,
            )
            await stack.enter_async_context(monitor.watching())
            if self._roles is not None:
                await stack.enter_async_context(self._roles.following(monitor.look))
            yield


def _is_away(error: BaseException) -> bool:
    """Return whether this error, or one that caused it, says that Redis does not answer now."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, StorageError) and found.retryable:
            return True
        found = found.__cause__
    return False


class Nodes:
    """The nodes of a memory, found and checked, whose roles can be followed.

    `late` are the links of groups that did not answer yet.
    """

    def __init__(
        self, shards: Shards, links: Sequence[ShardLink], late: Sequence[ShardLink] = ()
    ) -> None:
        self.shards = shards
        self._links = links
        self._late = late

    @property
    def present(self) -> list[Shard]:
        """Return the shards that answered."""
        return [link.shard for link in self._links]

    @asynccontextmanager
    async def watching(
        self, indexes_ready: IndexesReady, require_fit: NodeCheck
    ) -> AsyncIterator[None]:
        """Check the nodes and follow their roles while the context is open.

        A group that did not answer is tried again until it does, and is used once `require_fit`
        raises nothing for its master.
        """
        async with AsyncExitStack() as stack:
            for link in self._links:
                await stack.enter_async_context(link.watching(indexes_ready))
            for link in self._late:
                work = partial(self._open_later, link, indexes_ready, require_fit)
                await stack.enter_async_context(
                    running(work, f"waiting for group {link.shard.name}")
                )
            yield

    async def _open_later(
        self, link: ShardLink, indexes_ready: IndexesReady, require_fit: NodeCheck, job: Job
    ) -> None:
        while True:
            await asyncio.sleep(TRY_AGAIN_S)
            async with AsyncExitStack() as stack:
                try:
                    await stack.enter_async_context(await link.open_if_there())
                    master, home = link.shard.master, self.shards.home.master.client
                    link.forget("it is being checked.")
                    await require_member(link.shard.name, master.client, home)
                    await require_fit(master)
                except (_NotThere, StorageError, StartError) as error:
                    told = error.detail if isinstance(error, MemoryServiceError) else str(error)
                    link.forget(told)
                    job.failed(error)
                    if job.failures_in_a_row.bit_count() == 1:  # not once a second
                        logger.warning("group %s is not used yet: %s", link.shard.name, told)
                    continue
                link.shard.set_roles(master, link.shard.forgotten_replicas)
                if isinstance(self.shards, GroupShards):
                    await self.shards.load_names(link.shard)
                job.succeeded()
                logger.info("group %s is used from now on", link.shard.name)
                async with link.watching(indexes_ready):
                    await asyncio.Event().wait()


async def connect(settings: Settings, addresses: Addresses, stack: AsyncExitStack) -> Nodes:
    """Find the nodes and check that they can be used. The stack closes them.

    Raise StartError if Redis is not suitable.
    """
    options = EngineOptions(VectorFormat(settings.dimension, settings.vector_type))
    if addresses.groups:
        return await _connect_groups(settings, addresses, options, stack)
    shard = Shard(is_replicated=addresses.has_replicas)
    link = ShardLink(shard, addresses, settings, options)
    await link.open(stack)
    await require_ungrouped(shard.master.client)
    return Nodes(Shards([shard]), [link])


async def _connect_groups(
    settings: Settings, addresses: Addresses, options: EngineOptions, stack: AsyncExitStack
) -> Nodes:
    if settings.layout == "shared":
        raise ConfigurationError(
            "MEMORY_LAYOUT shared keeps all agents in one index, which groups cannot share: use "
            "per_agent."
        )
    links = {
        group.name: ShardLink(
            Shard(group.name, is_replicated=group.addresses.has_replicas),
            group.addresses,
            settings,
            options,
        )
        for group in addresses.groups
    }
    late = []
    opened = await asyncio.gather(
        *(link.open_if_there() for link in links.values()), return_exceptions=True
    )
    for link, found in zip(links.values(), opened, strict=True):
        if isinstance(found, AsyncExitStack):
            await stack.enter_async_context(found)
        elif isinstance(found, _NotThere):
            late.append(link)
    for found in opened:
        if isinstance(found, BaseException) and not isinstance(found, _NotThere):
            raise found
    present = {name: link for name, link in links.items() if link not in late}
    masters = {name: link.shard.master.client for name, link in present.items()}
    weights = {group.name: group.weight for group in addresses.groups}
    try:
        membership = await join(weights, masters)
    except StorageError as error:
        raise StartError(f"The groups cannot be used: {error.detail}") from error
    for name, found in zip(links, opened, strict=True):
        if isinstance(found, _NotThere):
            logger.warning("starting without group %s: %s", name, found)
    by_name = {name: link.shard for name, link in links.items()}
    shards = await placed(by_name, membership, allows_partial=settings.partial_answers)
    return Nodes(shards, list(present.values()), late)


async def placed(
    groups: Mapping[str, Shard], membership: Membership, *, allows_partial: bool
) -> Shards:
    """Return the groups as shards, with the places of all agents. Raise StorageError.

    A memory of one group needs no places.
    """
    if len(groups) == 1:
        return Shards(list(groups.values()))
    weights = membership.listed.weights
    shards = GroupShards(groups, membership.home, weights, allows_partial=allows_partial)
    await shards.load()
    return shards


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
