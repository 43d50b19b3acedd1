"""`check` finds what was planted, and says how to mend it."""

import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis.asyncio import Redis

from app.commands.check import report
from app.embedded import EmbeddedNode
from app.embedded.files import find_binaries
from app.embedded.node import NodeOptions, running_node
from app.nodes.client import execute
from app.nodes.engine_options import EngineOptions, shown
from app.nodes.shard import lone_shard
from app.settings import Settings
from app.storage.checks import (
    Finding,
    check_indexes,
    check_replica,
    check_server,
    memory,
    persistence,
    replication,
    version,
)
from app.storage.index import Indexes
from app.storage.schema import episodic_schema
from app.vectors import VectorFormat
from tests.commands.app_process import run_app
from tests.conftest import DIMENSION, running_service
from tests.engine import engine
from tests.transfer.filled import concept, experience

OPTIONS = EngineOptions(VectorFormat(DIMENSION))
REPLICA = {"ip": "r1", "port": 1, "state": "online", "offset": 99_999_000, "lag": 1}
WELL: dict[str, Any] = {
    "redis_version": "8.2.3",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "aof_last_bgrewrite_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "maxmemory_policy": "noeviction",
    "maxmemory": 1000,
    "used_memory": 100,
    "role": "master",
    "master_repl_offset": 100_000_000,
    "slave0": REPLICA,
}


def problems(findings: list[Finding]) -> str:
    return report([found for found in findings if found.verdict == "problem"])


async def store(settings: Settings) -> None:
    async with running_service(settings) as api:
        for body in (experience("a", 1), experience("a", 2), experience("b,c", 1)):
            assert (await api.post("/v1/episodic", json=body)).status_code == 201
        assert (await api.post("/v1/semantic", json=concept(1))).status_code == 201


def indexes(redis: Redis, settings: Settings) -> Indexes:
    return Indexes(
        lone_shard(redis), layout=settings.layout, dimension=settings.dimension, wait_s=5
    )


@pytest.mark.parametrize("layout", ["per_agent", "shared"])
async def test_a_sound_memory(settings: Settings, redis: Redis, layout: Any) -> None:
    assert problems(await check_indexes(lone_shard(redis), indexes(redis, settings))) == ""
    settings = settings.model_copy(update={"layout": layout})
    await store(settings)
    assert settings.redis_url is not None
    status, said = run_app(
        "check",
        redis_url=settings.redis_url.get_secret_value(),
        dimension=DIMENSION,
        layout=layout,
    )
    assert status == 0, said
    assert {line.split()[0] for line in said.splitlines()} == {"ok", "note"}
    count = 3 if layout == "per_agent" else 2
    assert f"{count} of {count} indexes ready, 4 memories in them" in said
    assert f"query engine {shown(engine())}" in said


@pytest.mark.parametrize(
    ("setting", "bad", "mend"),
    [
        ("maxmemory-policy", "allkeys-lru", "CONFIG SET maxmemory-policy noeviction"),
        ("appendonly", "no", "CONFIG SET appendonly yes"),
        ("maxmemory", "1mb", "raise maxmemory"),
    ],
)
async def test_planted_configuration(
    settings: Settings, redis: Redis, setting: str, bad: str, mend: str
) -> None:
    assert settings.redis_url is not None
    good = str((await redis.config_get(setting))[setting])
    await redis.config_set(setting, bad)
    try:
        status, said = run_app(
            "check", redis_url=settings.redis_url.get_secret_value(), dimension=DIMENSION
        )
    finally:
        await redis.config_set(setting, good)
    wrong = [line for line in said.splitlines() if line.startswith("problem")]
    assert (status, len(wrong)) == (1, 1), said
    assert mend in wrong[0]


async def test_a_dropped_index(settings: Settings, redis: Redis) -> None:
    await store(settings)
    await execute(redis, "FT.DROPINDEX", "episodic_memory_idx:{b,c}:flat")
    own = indexes(redis, settings)
    said = problems(await check_indexes(lone_shard(redis), own))
    assert said.count("\n") == 1
    assert "episodic_memory_idx:{b,c} is missing though memories are stored" in said
    # It changes nothing: the index is still missing, and a search brings it back as it says.
    assert problems(await check_indexes(lone_shard(redis), own)) == said
    async with running_service(settings) as api:
        question = {"agent_id": "b,c", "state_vector": experience("a", 1)["state_vector"]}
        assert (await api.post("/v1/episodic/search", json=question)).json()["count"] == 1
    assert problems(await check_indexes(lone_shard(redis), own)) == ""


async def test_an_index_behind_its_alias_that_is_being_built(
    settings: Settings, redis: Redis
) -> None:
    """As after a restart of Redis: there, and not whole."""
    await store(settings)
    pipeline = redis.pipeline(transaction=False)
    for number in range(5000):
        vector = np.random.default_rng(number).normal(size=DIMENSION).astype("<f4").tobytes()
        pipeline.hset(f"episodic:{{a}}:more-{number}", mapping={"state_vector": vector, "seq": 9})
    await pipeline.execute()
    schema = episodic_schema("a", VectorFormat(DIMENSION), "HNSW")
    slow = replace(schema, hnsw=replace(schema.hnsw, ef_construction=2000))
    await execute(redis, *slow.create_command(scan=True))
    await execute(redis, "FT.ALIASUPDATE", slow.alias, slow.name)
    said = problems(await check_indexes(lone_shard(redis), indexes(redis, settings)))
    await execute(redis, "FT.DROPINDEX", slow.name)
    assert re.search(r"The index episodic_memory_idx:\{a\} is being built \(\d?\d%\)", said), said
    assert said.count("\n") == 1


async def test_refused_hashes_another_dimension_and_the_other_layout(
    settings: Settings, redis: Redis
) -> None:
    await store(settings)
    await redis.hset("episodic:{a}:foreign", "state_vector", b"short")
    said = problems(await check_indexes(lone_shard(redis), indexes(redis, settings)))
    assert "episodic_memory_idx:{a}:flat refused 1 hashes" in said
    other = settings.model_copy(update={"dimension": DIMENSION * 2})
    said = problems(await check_indexes(lone_shard(redis), indexes(redis, other)))
    assert said.count("dimension is 8, expected 16") == 3
    shared = settings.model_copy(update={"layout": "shared"})
    findings = await check_indexes(lone_shard(redis), indexes(redis, shared))
    assert "episodic_memory_idx is missing" in problems(findings)
    (note,) = [found.sentence for found in findings if found.verdict == "note"]
    assert note.startswith("2 per agent indexes are not used")


async def test_many_problems_are_counted(settings: Settings, redis: Redis) -> None:
    for i in range(25):
        await redis.sadd("episodic_agents", f"agent_{i}")
    said = problems(await check_indexes(lone_shard(redis), indexes(redis, settings)))
    assert said.count("is missing") == 10
    assert "... and 15 more" in said


def test_a_redis_out_of_reach_is_status_2() -> None:
    status, said = run_app("check", redis_url="redis://:hush@127.0.0.1:1")
    assert status == 2
    assert "Redis cannot be reached" in said
    assert "hush" not in said
    assert "Traceback" not in said


async def test_a_redis_without_engine(tmp_path: Path) -> None:
    async with plain_node(tmp_path, engine=False) as node:
        status, said = run_app("check", redis_url=node.url)
    assert status == 1
    assert "The query engine is missing" in said
    assert "redis:8" in said


def plain_node(folder: Path, *, engine: bool = True, replica_of_port: int | None = None) -> Any:
    binaries = find_binaries()
    lock = (folder / "lock").open("wb")
    options = NodeOptions(
        name="other",
        folder=folder / "other",
        port=0,
        maxmemory_bytes=0,
        start_timeout_s=10,
        lock_descriptor=lock.fileno(),
        replica_of_port=replica_of_port,
    )
    if not engine:
        binaries = type(binaries)(server=binaries.server, engine=None)

    class Running:
        async def __aenter__(self) -> EmbeddedNode:
            self._node = running_node(binaries, options)
            return await self._node.__aenter__()

        async def __aexit__(self, *error: Any) -> None:
            await self._node.__aexit__(*error)
            lock.close()

    return Running()


@pytest.fixture
async def replica(redis_node: EmbeddedNode, redis: Redis, tmp_path: Path) -> AsyncIterator[Redis]:
    """A replica of the run's Redis."""
    delay = "repl-diskless-sync-delay"
    before = str((await redis.config_get(delay))[delay])
    await redis.config_set(delay, 0)
    async with (
        plain_node(tmp_path, replica_of_port=redis_node.port) as node,
        Redis.from_url(node.url) as client,
    ):
        yield client
    await redis.config_set(delay, before)


async def test_replicas(redis: Redis, replica: Redis) -> None:
    give_up_at = time.monotonic() + 60
    while "in sync" in (
        said := problems(await check_server(redis, expected_replicas=1, options=OPTIONS))
    ) or ("0 of 1" in said):
        assert time.monotonic() < give_up_at, said
    assert said == ""
    findings = await check_server(redis, expected_replicas=1, options=OPTIONS)
    assert [f.sentence for f in findings if f.sentence.startswith("replica 127.0.0.1:")]
    assert "1 of 2 replicas are connected" in problems(
        await check_server(redis, expected_replicas=2, options=OPTIONS)
    )
    assert "set MEMORY_REDIS_URL, or the group" in problems(
        await check_server(replica, expected_replicas=None, options=OPTIONS)
    )
    assert problems(await check_replica(replica, "replica-1")) == ""
    assert "replica-1 is not a replica" in problems(await check_replica(redis, "replica-1"))
    await execute(replica, "REPLICAOF", "127.0.0.1", 1)
    assert "replica-1 has lost its master" in problems(await check_replica(replica, "replica-1"))


async def test_configured_replicas(settings: Settings, redis_node: EmbeddedNode) -> None:
    status, said = run_app(
        "check",
        redis_url=redis_node.url,
        replica_urls=f"{redis_node.tcp_url},redis://:hush@127.0.0.1:1",
        dimension=DIMENSION,
    )
    assert status == 1
    assert "0 of 2 replicas are connected" in said
    assert "replica-1 is not a replica" in said
    assert "replica-2 cannot be used. Redis cannot be reached" in said
    assert "hush" not in said


async def test_a_replica_without_engine_is_no_help(tmp_path: Path) -> None:
    """As in the specification's compose file."""
    async with (
        plain_node(tmp_path, engine=False) as node,
        Redis.from_url(node.url) as client,
    ):
        await execute(client, "REPLICAOF", "127.0.0.1", 1)
        said = problems(await check_replica(client, "replica-1"))
    assert "cannot answer searches. The query engine is missing" in said


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, ""),
        ({"redis_version": "7.4.1"}, "Redis 7.4.1 is older"),
        ({"aof_last_write_status": "err"}, "last write to the append-only file failed"),
        ({"aof_last_bgrewrite_status": "err"}, "rewriting the append-only file failed"),
        ({"rdb_last_bgsave_status": "err"}, "saving a snapshot failed"),
        ({"maxmemory_policy": "volatile-lru"}, "maxmemory-policy is volatile-lru"),
        ({"used_memory": 900}, "900 of 1,000 bytes are used"),
        ({"slave0": REPLICA | {"state": "wait_bgsave"}}, "r1:1 is not in sync"),
        ({"min_slaves_good_slaves": 0}, "Every write is refused"),
        ({"slave0": REPLICA | {"lag": 11}}, "last heard of 11 s ago"),
        ({"slave0": REPLICA | {"offset": 1}}, "99,999,999 bytes behind"),
    ],
)
def test_each_fault_is_named(wrong: dict[str, Any], says: str) -> None:
    info = WELL | wrong
    said = problems(
        [*version(info), *persistence(info), *memory(info), *replication(info, expected=1)]
    )
    assert says in said
    assert said.count("\n") == bool(says)


@pytest.mark.parametrize(
    ("found", "needed"),
    [
        ("8.0.6", "8.2.9"),
        ("8.2.8", "8.2.9"),
        ("8.2.9", ""),
        ("8.4.5", "8.4.6"),
        ("8.6.6", ""),
        ("8.8.1", "8.8.2"),
        ("8.10.0", "8.10.1"),
        ("8.10.1", ""),
        ("8.12.0", ""),
    ],
)
def test_a_version_that_lacks_security_fixes_is_noted(found: str, needed: str) -> None:
    ok, *notes = version({"redis_version": found})
    assert (ok.verdict, ok.sentence) == ("ok", f"Redis {found}")
    expected = [f"Redis {found} lacks security fixes: upgrade to {needed} or later."]
    assert [note.sentence for note in notes] == (expected if needed else [])
