"""A node is ready when it answers searches."""

import pytest
from redis.asyncio import Redis

from app.errors import IndexRebuilding
from app.nodes.health import node_probe
from tests.kit.storage_parts import storage_parts


async def test_a_node_that_builds_its_indexes_is_not_ready(redis: Redis) -> None:
    (shard,) = storage_parts(redis).shards
    shard.master.indexes_ready = False
    with pytest.raises(IndexRebuilding, match="still building its indexes"):
        await node_probe(shard.master)()
    shard.master.indexes_ready = True
    assert (await node_probe(shard.master)())["role"] == "master"
