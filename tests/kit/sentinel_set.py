"""A real master, two replicas, three Sentinels and a service that follows them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.embedded import embedded_redis
from app.settings import Settings
from tests.conftest import DIMENSION, running_service
from tests.kit.replica_set import ReplicaSet


@asynccontextmanager
async def sentinel_set(folder: Path, **settings: Any) -> AsyncIterator[ReplicaSet]:
    """All of them; both replicas get reads."""
    embedded = Settings(data_dir=folder, embedded_topology="sentinel", dimension=DIMENSION)
    async with embedded_redis(embedded) as topology:
        chosen = Settings(
            sentinel_urls=topology.addresses.sentinels,
            sentinel_master=topology.addresses.master_name,
            dimension=DIMENSION,
            **settings,
        )
        async with running_service(chosen) as api:
            nodes = ReplicaSet(topology, chosen, api)
            await nodes.until_in_rotation("replica-1", "replica-2")
            yield nodes
