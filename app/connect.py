"""How a command reaches the data: as the service does, or through a running service's Redis."""

import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from app.embedded import embedded_redis
from app.embedded.node import SOCKET_NAME
from app.embedded.topology import master_folder
from app.errors import DataFolderInUse
from app.nodes.addresses import Addresses, configured_addresses
from app.nodes.client import Client, create_redis
from app.nodes.engine_options import EngineOptions
from app.nodes.health import require_alone, require_engine
from app.nodes.sentinel import master_url
from app.nodes.shard import Shards, lone_shard
from app.settings import Settings
from app.storage.index import Indexes

INDEX_WAIT_S = 600.0
"""A command has more time than a request, so it waits until a lost index is rebuilt."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The database that a command works on."""

    shards: Shards
    indexes: Indexes


@asynccontextmanager
async def connected_redis(settings: Settings) -> AsyncIterator[Client]:
    """Yield a client of the master.

    If MEMORY_REDIS_URL is unset, this is the embedded Redis: the one of the service that runs on
    MEMORY_DATA_DIR, or one started for the command. Raise StartError.
    """
    async with AsyncExitStack() as stack:
        addresses = configured_addresses(settings)
        if addresses is not None:
            url = await master_url(addresses, settings)
        else:
            try:
                # A command needs the data, not its copies.
                single = settings.model_copy(update={"embedded_topology": "single"})
                topology = await stack.enter_async_context(embedded_redis(single))
                url = topology.master.url
            except DataFolderInUse as error:
                url = f"unix://{_socket_of_running_service(settings.data_dir, error)}"
        master = create_redis(url, client_name="coinswarm-command", settings=settings)
        stack.push_async_callback(master.aclose)
        if addresses is not None:
            await require_alone(master)
        yield master


@asynccontextmanager
async def connected_shards(settings: Settings) -> AsyncIterator[Shards]:
    """Yield the same as `connected_redis`, as the shards of a memory."""
    async with connected_redis(settings) as master:
        yield lone_shard(master)


@asynccontextmanager
async def configured_replicas(settings: Settings) -> AsyncIterator[list[Client]]:
    """Yield clients of the replicas in MEMORY_REPLICA_URLS, which may or may not answer."""
    async with AsyncExitStack() as stack:
        replicas = []
        for url in settings.replica_urls:
            replica = create_redis(
                url.get_secret_value(), client_name="coinswarm-command", settings=settings
            )
            stack.push_async_callback(replica.aclose)
            replicas.append(replica)
        yield replicas


@asynccontextmanager
async def connected_memory(settings: Settings) -> AsyncIterator[Memory]:
    """Yield the masters and their indexes, checked as the service checks them. Raise StartError."""
    async with connected_redis(settings) as master:
        shards = lone_shard(master)
        indexes = Indexes.of(settings, shards, wait_s=INDEX_WAIT_S)
        await require_engine(master, EngineOptions(indexes.stored_as))
        await indexes.verify()
        yield Memory(shards, indexes)


def settings_beside(settings: Settings, in_use: DataFolderInUse) -> Settings:
    """Return the settings with the running service's embedded Redis as `redis_url`.

    Raise DataFolderInUse, saying what to do, if that Redis cannot be reached.
    """
    socket = _socket_of_running_service(settings.data_dir, in_use)
    return settings.model_copy(update={"redis_url": SecretStr(f"unix://{socket}")})


def _socket_of_running_service(data_dir: Path, in_use: DataFolderInUse) -> Path:
    path = (master_folder(data_dir) / SOCKET_NAME).resolve()
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        return path
    raise DataFolderInUse(
        f"{in_use.detail.partition(':')[0]}, and its Redis has no socket there: stop the service, "
        "or set MEMORY_REDIS_URL to its Redis (the port is in its /readyz)."
    ) from in_use


async def redis_addresses(settings: Settings, stack: AsyncExitStack) -> Addresses:
    """Return where Redis is. Start it if it is the embedded one."""
    addresses = configured_addresses(settings)
    if addresses is None:
        topology = await stack.enter_async_context(embedded_redis(settings))
        addresses = topology.addresses
    return addresses
