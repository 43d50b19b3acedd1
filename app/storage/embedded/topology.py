"""Which embedded nodes run together, on one data folder."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.settings import Settings
from app.storage.embedded.binaries import find_binaries
from app.storage.embedded.data_folder import locked_data_folder
from app.storage.embedded.node import EmbeddedNode, NodeOptions, running_node

FIRST_NODE = "node-1"


@asynccontextmanager
async def embedded_redis(settings: Settings) -> AsyncIterator[EmbeddedNode]:
    """A master on MEMORY_DATA_DIR. Raises EmbeddedRedisError, DataFolderInUse."""
    binaries = find_binaries()
    with locked_data_folder(settings.data_dir) as lock_descriptor:
        options = NodeOptions(
            name=FIRST_NODE,
            folder=settings.data_dir / FIRST_NODE,
            port=settings.embedded_port,
            maxmemory_bytes=settings.embedded_maxmemory_bytes,
            start_timeout_s=settings.embedded_start_timeout_s,
            lock_descriptor=lock_descriptor,
        )
        async with running_node(binaries, options) as node:
            yield node
