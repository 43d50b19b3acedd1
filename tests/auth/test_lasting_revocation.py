"""A key that was revoked stays so, whatever becomes of the master that was told."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from redis.asyncio import Redis

from app import keys
from app.embedded import EmbeddedNode, embedded_redis
from app.nodes.client import execute
from app.settings import Settings
from tests.commands.app_process import run_app_apart
from tests.kit.service_process import REPOSITORY

PASSWORD = "of-the-keys-admin"


async def restrict(node: EmbeddedNode) -> None:
    """Give the node a user that may do no more than the command must."""
    text = (REPOSITORY / "redis/service.acl").read_text().replace("PASSWORD", PASSWORD)
    (rules,) = [
        line.split()[2:] for line in text.splitlines() if line.startswith("user keys-admin")
    ]
    async with Redis.from_url(node.url, protocol=2) as redis:
        await execute(redis, "ACL", "SETUSER", "keys-admin", "reset", *rules)


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[list[EmbeddedNode]]:
    """A master and a replica."""
    embedded = Settings(data_dir=tmp_path / "nodes", embedded_replicas=1)
    async with embedded_redis(embedded) as topology:
        await restrict(topology.master)
        yield [topology.master, *topology.replicas]


def run(master: EmbeddedNode, *words: str, **settings: object) -> tuple[int, str, str]:
    url = f"redis://keys-admin:{PASSWORD}@127.0.0.1:{master.port}"
    # Replicas of a busy machine confirm late.
    patient = {"durability_timeout_ms": 30_000, "redis_read_timeout_s": 60}
    return run_app_apart("keys", *words, redis_url=url, **(patient | settings))


async def is_revoked(node: EmbeddedNode, key_id: str) -> bool:
    async with Redis.from_url(node.url, protocol=2) as client:
        record = orjson.loads(await execute(client, "HGET", keys.API_KEYS, key_id))
    return "revoked_at" in record


async def test_a_revocation_is_confirmed_when_replicas_have_it(nodes: list[EmbeddedNode]) -> None:
    master, replica = nodes
    status, said, trouble = run(master, "create", "--role", "read")
    assert status == 0, trouble
    key_id = said.splitlines()[-1].split("_")[1]
    async with Redis.from_url(replica.url, protocol=2) as client:
        process_id = (await client.info("server"))["process_id"]
    os.kill(process_id, signal.SIGSTOP)
    try:
        for _ in range(2):  # the second time it has been revoked before
            status, _, trouble = run(master, "revoke", key_id, durability_timeout_ms=300)
            assert status == 1
            assert f"Key {key_id} is revoked, but too few replicas" in trouble
        assert await is_revoked(master, key_id)
    finally:
        os.kill(process_id, signal.SIGCONT)
    status, said, trouble = run(master, "revoke", key_id)
    assert (status, said) == (0, f"Key {key_id} is revoked.\n"), trouble
    assert await is_revoked(replica, key_id)


async def test_a_replica_that_is_configured_and_gone_is_missed(nodes: list[EmbeddedNode]) -> None:
    master, replica = nodes
    status, said, trouble = run(master, "create", "--role", "read")
    assert status == 0, trouble
    key_id = said.splitlines()[-1].split("_")[1]
    async with Redis.from_url(replica.url, protocol=2) as client:
        await execute(client, "REPLICAOF", "NO", "ONE")
    async with Redis.from_url(master.url, protocol=2) as client:
        while (await client.info("replication"))["connected_slaves"]:
            pass
    brief: dict[str, object] = {"durability_timeout_ms": 300}
    status, _, trouble = run(master, "revoke", key_id, replica_urls=replica.url, **brief)
    assert (status, "could bring the key back" in trouble) == (1, True)
    status, _, trouble = run(master, "revoke", key_id)
    assert status == 0, "nothing says that there should be one"
