"""The same tests over other topologies: their `api`, `redis` and `settings` are those of one."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import ConnectionPool, Redis

from app import keys
from app.embedded import EmbeddedTopology, embedded_redis
from app.settings import Settings
from tests.conftest import DIMENSION, running_service
from tests.kit.sentinel_set import NEVER_MS, fail_over_after

REPLICAS = {"replicas": 2, "sentinel": 2, "groups": 0}

REFUSED = "refused before any node is asked"
ON_NONE = {
    "test_counts_in_redis_survive_a_killed_service": "starts a Redis of its own",
    "test_filters_keep_what_they_say": "a random life asks by every filter",
    "test_first_draws_have_the_stated_chances": "a thousand draws from one index, wherever it is",
    "test_a_backtest_must_name_the_moment": REFUSED,
    "test_bad_input": REFUSED,
    "test_bad_parameters_are_named": REFUSED,
    "test_wrong_changes": REFUSED,
    "test_wrong_rules": REFUSED,
}
NOT_ON_GROUPS = {
    "test_counts_and_bytes_are_those_of_redis": "compares with what is in one Redis",
    "test_missing_and_failing_indexes_are_said": "breaks indexes in one Redis",
    "test_costly_totals_are_kept_for_twenty_times_their_cost": "reads one Redis itself",
    "test_a_decision_without_a_memory": "looks into one Redis",
    "test_a_memory_under_the_recalls_id_is_the_decision": "looks into one Redis",
    "test_one_agents_error_keeps_no_others_from_being_pruned": "breaks agents in one Redis",
    "test_what_a_former_release_stored_stays_by_default": "changes a memory in one Redis",
}
QUICK = {"test_episodic_search", "test_query", "test_shared_experience", "test_tags"}
"""Modules that run over groups and behind Sentinels each time; the others do in `make test-groups`.
Sentinels only say which nodes there are: those are the same as without them."""


def _is_out_of_place(item: pytest.Item) -> bool:
    """Whether it says nothing over this topology, or waits for `make test-groups`."""
    name, _, parameters = item.name.partition("[")
    chosen = parameters.rstrip("]").split("-")
    if not {"groups", "sentinel"}.intersection(chosen):
        return False
    is_left_out = "groups" in chosen and ("shared" in chosen or name in NOT_ON_GROUPS)
    is_quick = item.path.stem in QUICK
    return is_left_out or not (is_quick or bool(os.environ.get("WHOLE_API_EVERYWHERE")))


class GroupedRedis(Redis):
    """A client of the home. It empties all groups at once, but for what makes them groups: the
    service that runs on refuses those that came back without their marks."""

    def __init__(self, topology: EmbeddedTopology) -> None:
        pool = ConnectionPool.from_url(topology.master.url, protocol=2)
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self._groups = topology.groups

    async def flushall(self, asynchronous: bool = False, **options: Any) -> Any:
        if not self._groups:
            return await super().flushall(asynchronous, **options)
        for group in self._groups.values():
            async with Redis.from_url(group.master.url, protocol=2) as redis:
                kept: dict[str, Any] = {
                    key: await redis.hgetall(key) for key in (keys.GROUP, keys.GROUPS)
                }
                await redis.flushall()
                for key, fields in kept.items():
                    if fields:
                        await redis.hset(key, mapping=fields)
        return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is the same everywhere."""
    left_out = [
        i
        for i in items
        if _is_here(i) and (i.name.partition("[")[0] in ON_NONE or _is_out_of_place(i))
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _is_here(item: pytest.Item) -> bool:
    return item.path.is_relative_to(Path(__file__).parent)


@pytest.fixture(scope="session", params=REPLICAS)
async def topology(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EmbeddedTopology]:
    """The running nodes."""
    embedded = Settings(
        data_dir=tmp_path_factory.mktemp("nodes"),
        embedded_topology=request.param,
        embedded_replicas=REPLICAS[request.param],
        dimension=DIMENSION,
    )
    async with embedded_redis(embedded) as started:
        if started.addresses.sentinels:
            await fail_over_after(started, NEVER_MS)
        yield started


@pytest.fixture
async def redis(topology: EmbeddedTopology) -> AsyncIterator[Redis]:
    """A client of the master, which is emptied."""
    client = GroupedRedis(topology)
    await client.flushall()
    yield client
    await client.aclose()


def _settings(topology: EmbeddedTopology) -> Settings:
    addresses = topology.addresses
    if addresses.groups:
        return Settings(groups=addresses.as_settings()["GROUPS"], dimension=DIMENSION)
    if addresses.sentinels:
        return Settings(
            sentinel_urls=addresses.sentinels,
            sentinel_master=addresses.master_name,
            dimension=DIMENSION,
        )
    master, *replicas = addresses.nodes
    return Settings(redis_url=master, replica_urls=tuple(replicas), dimension=DIMENSION)


@pytest.fixture
def settings(topology: EmbeddedTopology, redis: object) -> Settings:
    """Settings of a service on these nodes, which are empty."""
    return _settings(topology)


@pytest.fixture(scope="session")
async def lasting_api(topology: EmbeddedTopology) -> AsyncIterator[httpx.AsyncClient]:
    """One service for all tests over a topology."""
    async with running_service(_settings(topology)) as client:
        yield client


@pytest.fixture
def api(lasting_api: httpx.AsyncClient, redis: object) -> httpx.AsyncClient:
    """A client of a service on empty nodes."""
    return lasting_api


@pytest.fixture
async def fresh_api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a fresh service on empty nodes."""
    async with running_service(settings) as client:
        yield client
