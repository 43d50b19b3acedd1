"""How a process reaches Redis: the one that the settings name, or the embedded one."""

import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.embedded import embedded_redis
from app.embedded.node import SOCKET_NAME
from app.embedded.topology import group_folders, master_folder
from app.errors import ConfigurationError, DataFolderInUse, StartError, StorageError
from app.nodes.addresses import Addresses, GroupAddresses, configured_addresses
from app.nodes.client import Client, create_redis
from app.nodes.connect import placed
from app.nodes.engine_options import EngineOptions
from app.nodes.groups.membership import join, read_mark, require_ungrouped
from app.nodes.health import require_alone, require_engine
from app.nodes.node import MASTER, RedisNode
from app.nodes.sentinel import master_url
from app.nodes.shard import Shard, Shards, lone_shard
from app.settings import Settings
from app.storage.index import Indexes

Purpose = Literal["service", "operations", "command"]
"""What Redis is opened for.

service: the embedded Redis is this process's own, in the topology of the settings.
operations: the same, or that of the service that runs on the data folder.
command: the data without its copies: one node, or that of the running service.
"""

INDEX_WAIT_S = 600.0
"""A command has more time than a request, so it waits until a lost index is rebuilt."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The database that a command works on."""

    shards: Shards
    indexes: Indexes


@asynccontextmanager
async def open_redis(settings: Settings, purpose: Purpose) -> AsyncIterator[Addresses]:
    """Yield the addresses of Redis; start it if it is the embedded one. Raise StartError.

    If no address is set, it is the embedded Redis on MEMORY_DATA_DIR. If a service runs there
    already, a service is refused with DataFolderInUse; anything else shares that service's Redis.
    """
    async with AsyncExitStack() as stack:
        addresses = configured_addresses(settings)
        if addresses is None:
            addresses = await _embedded(settings, purpose, stack)
        yield addresses


async def _embedded(settings: Settings, purpose: Purpose, stack: AsyncExitStack) -> Addresses:
    is_grouped = settings.embedded_topology == "groups"
    if purpose == "command":
        only: dict[str, object] = (
            {"embedded_replicas": 0} if is_grouped else {"embedded_topology": "single"}
        )
        settings = settings.model_copy(update=only)
    try:
        topology = await stack.enter_async_context(embedded_redis(settings))
    except DataFolderInUse as error:
        if purpose == "service":
            raise
        if not is_grouped:
            return _of_running_service(settings.data_dir, error)
        return Addresses(
            groups=tuple(
                GroupAddresses(name, _of_running_service(folder, error, name))
                for name, folder in group_folders(settings).items()
            )
        )
    return topology.addresses


def _of_running_service(data_dir: Path, in_use: DataFolderInUse, group: str = "") -> Addresses:
    """Return where the running service's Redis is. Raise DataFolderInUse, which says what to do,
    if it has no socket."""
    path = (master_folder(data_dir, group) / SOCKET_NAME).resolve()
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        return Addresses(nodes=(f"unix://{path}",))
    raise DataFolderInUse(
        f"{in_use.detail.partition(':')[0]}, and its Redis has no socket there: stop the service, "
        "or set MEMORY_REDIS_URL to its Redis (the port is in its /readyz)."
    ) from in_use


@asynccontextmanager
async def connected_shards(
    settings: Settings, *, adding: str | None = None, takes_empty: bool = False
) -> AsyncIterator[Shards]:
    """Yield the master of each shard, for a command. The group `adding` joins the memory; with
    `takes_empty`, an empty Redis may take the place of the one that it had.

    Raise StartError.
    """
    async with AsyncExitStack() as stack:
        addresses = await stack.enter_async_context(open_redis(settings, "command"))
        if addresses.groups:
            yield await _masters_of_groups(settings, addresses, stack, adding, takes_empty)
            return
        master = await _master(settings, addresses, stack)
        await require_ungrouped(master)
        yield lone_shard(master)


@asynccontextmanager
async def connected_home(settings: Settings) -> AsyncIterator[Shards]:
    """Yield what has the home, for a command that works on nothing else.

    Its user may lack the rights to the rest of a memory in several groups. Raise StartError.
    """
    addresses = configured_addresses(settings)
    async with AsyncExitStack() as stack:
        for group in addresses.groups if addresses is not None else ():
            master, mark = None, None
            with suppress(StorageError, StartError):
                master = await _master(settings, group.addresses, stack)
                mark = await read_mark(master)
            if master is not None and mark is not None and mark.name == mark.home == group.name:
                yield lone_shard(master)
                return
        # No groups, a new memory, or a home that is away, which this says.
        yield await stack.enter_async_context(connected_shards(settings))


async def _master(settings: Settings, addresses: Addresses, stack: AsyncExitStack) -> Client:
    url = await master_url(addresses, settings)
    master = create_redis(url, client_name="coinswarm-command", settings=settings)
    stack.push_async_callback(master.aclose)
    await require_alone(master)
    return master


async def _masters_of_groups(
    settings: Settings,
    addresses: Addresses,
    stack: AsyncExitStack,
    adding: str | None,
    takes_empty: bool,
) -> Shards:
    """Return each group's master as a shard. One that does not answer has no master."""
    groups: dict[str, Shard] = {}
    masters: dict[str, Client] = {}
    for group in addresses.groups:
        shard = groups[group.name] = Shard(group.name)
        try:
            master = await _master(settings, group.addresses, stack)
        except (StorageError, StartError) as error:
            shard.note_absence(f"Group {group.name} is away: {error.detail}")
            if isinstance(error, ConfigurationError):
                raise
            continue
        masters[group.name] = master
        node = RedisNode(
            f"{group.name}/{MASTER}", client=master, waiting=master, probe=master, is_master=True
        )
        shard.set_roles(node)
    weights = {group.name: group.weight for group in addresses.groups}
    if adding is not None and adding not in weights:
        raise ConfigurationError(f"MEMORY_GROUPS lacks group {adding}: add its address there.")
    membership = await join(weights, masters, adding=adding, takes_empty=takes_empty)
    return await placed(groups, membership, allows_partial=False)


@asynccontextmanager
async def configured_replicas(settings: Settings) -> AsyncIterator[dict[str, list[Client]]]:
    """Yield clients of the replicas in MEMORY_REPLICA_URLS, or in MEMORY_GROUPS by their group,
    which may or may not answer."""
    async with AsyncExitStack() as stack:
        replicas: dict[str, list[Client]] = {}
        for name, part in (configured_addresses(settings) or Addresses()).parts.items():
            for url in part.nodes[1:]:
                replica = create_redis(url, client_name="coinswarm-command", settings=settings)
                stack.push_async_callback(replica.aclose)
                replicas.setdefault(name, []).append(replica)
        yield replicas


@asynccontextmanager
async def connected_memory(settings: Settings) -> AsyncIterator[Memory]:
    """Yield the masters and their indexes, checked as the service checks them. Raise StartError."""
    async with connected_shards(settings) as shards:
        indexes = indexes_for(settings, shards, "command")
        for master in shards.masters:
            await require_engine(master.client, EngineOptions(indexes.stored_as))
        await indexes.verify()
        yield Memory(shards, indexes)


def indexes_for(settings: Settings, shards: Shards, purpose: Purpose) -> Indexes:
    """Return the indexes on these shards, as the settings want them."""
    return Indexes(
        shards,
        layout=settings.layout,
        dimension=settings.dimension,
        vector_type=settings.vector_type,
        wait_s=INDEX_WAIT_S if purpose == "command" else settings.index_wait_s,
    )
