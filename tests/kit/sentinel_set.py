"""A real master, two replicas, three Sentinels and a service that follows them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.embedded import EmbeddedTopology, embedded_redis
from app.embedded.sentinels import DOWN_AFTER_MS
from app.embedded.topology import MASTER_NAME
from app.nodes.client import execute
from app.settings import Settings
from tests.conftest import DIMENSION, running_service
from tests.kit.replica_set import ReplicaSet, raw

NEVER_MS, SOON_MS = 600_000, DOWN_AFTER_MS


async def fail_over_after(topology: EmbeddedTopology, silence_ms: int) -> None:
    """Have the Sentinels replace a master that is silent for so long.

    On a busy machine a master that is well may be silent for a second: so a test has them wait for
    ever, except while it kills one.
    """
    for url in topology.addresses.sentinels:
        async with raw(url) as sentinel:
            words = ("SENTINEL", "SET", MASTER_NAME, "down-after-milliseconds", silence_ms)
            await execute(sentinel, *words)


@asynccontextmanager
async def sentinel_set(folder: Path, **settings: Any) -> AsyncIterator[ReplicaSet]:
    """All of them; both replicas get reads. No master is replaced until a test asks for it."""
    embedded = Settings(data_dir=folder, embedded_topology="sentinel", dimension=DIMENSION)
    async with embedded_redis(embedded) as topology:
        await fail_over_after(topology, NEVER_MS)
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
