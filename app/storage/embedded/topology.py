"""Which embedded nodes run together, on one data folder."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from app.settings import Settings
from app.storage.embedded.binaries import find_binaries
from app.storage.embedded.data_folder import locked_data_folder
from app.storage.embedded.node import EmbeddedNode, NodeOptions, free_port, running_node

MASTER = "node-1"


@dataclass(frozen=True, slots=True)
class EmbeddedTopology:
    """Running nodes: a master and the replicas that follow it."""

    master: EmbeddedNode
    replicas: tuple[EmbeddedNode, ...] = ()


@asynccontextmanager
async def embedded_redis(settings: Settings) -> AsyncIterator[EmbeddedTopology]:
    """A master and MEMORY_EMBEDDED_REPLICAS replicas on MEMORY_DATA_DIR.

    Raises EmbeddedRedisError, DataFolderInUse.
    """
    binaries = find_binaries()
    async with AsyncExitStack() as stack:
        lock_descriptor = stack.enter_context(locked_data_folder(settings.data_dir))

        async def start(name: str, port: int, replica_of_port: int | None) -> EmbeddedNode:
            options = NodeOptions(
                name=name,
                folder=settings.data_dir / name,
                port=port,
                maxmemory_bytes=settings.embedded_maxmemory_bytes,
                start_timeout_s=settings.embedded_start_timeout_s,
                lock_descriptor=lock_descriptor,
                replica_of_port=replica_of_port,
            )
            return await stack.enter_async_context(running_node(binaries, options))

        master = await start(MASTER, settings.embedded_port or free_port(), None)
        replicas = [
            await start(f"node-{number}", free_port(), master.port)
            for number in range(2, settings.embedded_replicas + 2)
        ]
        yield EmbeddedTopology(master, tuple(replicas))
