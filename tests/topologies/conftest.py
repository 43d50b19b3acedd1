"""The same tests over other topologies: `api` and `redis` are those of replicas, of Sentinels."""

from collections.abc import AsyncIterator

import httpx
import pytest
from redis.asyncio import Redis

from app.settings import Settings
from app.storage.embedded import EmbeddedTopology, embedded_redis
from tests.conftest import DIMENSION, running_service


@pytest.fixture(scope="module", params=["replicas", "sentinel"])
async def topology(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EmbeddedTopology]:
    """The running nodes."""
    embedded = Settings(
        data_dir=tmp_path_factory.mktemp("nodes"),
        embedded_topology=request.param,
        embedded_replicas=2,
        dimension=DIMENSION,
    )
    async with embedded_redis(embedded) as started:
        yield started


@pytest.fixture
async def redis(topology: EmbeddedTopology) -> AsyncIterator[Redis]:
    """A client of the master, emptied."""
    client = Redis.from_url(topology.master.url, protocol=2)
    await client.flushall()
    yield client
    await client.aclose()


def _settings(topology: EmbeddedTopology) -> Settings:
    addresses = topology.addresses
    if addresses.sentinels:
        return Settings(
            sentinel_urls=addresses.sentinels,
            sentinel_master=addresses.master_name,
            dimension=DIMENSION,
        )
    master, *replicas = addresses.nodes
    return Settings(redis_url=master, replica_urls=tuple(replicas), dimension=DIMENSION)


@pytest.fixture
def settings(topology: EmbeddedTopology, redis: Redis) -> Settings:
    """Settings of a service on these nodes."""
    return _settings(topology)


@pytest.fixture(scope="module")
async def lasting_api(topology: EmbeddedTopology) -> AsyncIterator[httpx.AsyncClient]:
    """One service for a whole module."""
    async with running_service(_settings(topology)) as client:
        yield client
