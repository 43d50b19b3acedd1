"""Whose word makes a cluster's master a sure one, and when a new one gets its first write."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.exceptions as foreign
from redis.asyncio import Redis

from app.errors import StorageUnavailable
from app.storage.cluster import ClusterShards, ClusterWatch
from app.storage.redis_node import RedisNode
from app.storage.shard import Shard
from app.storage.trust import HELD_AT_MOST_S, HELD_FOR_S, SURE_FOR_S
from tests.fakes import ManualClock

PORTS = {"a": 1, "b": 2, "c": 3, "a2": 4, "b2": 5, "c2": 6}
SLOTS = {"a": "0-5460", "b": "5461-10922", "c": "10923-16383"}
FOLLOWS = {"a2": "a", "b2": "b", "c2": "c"}
OTHERS = ("b", "c", "b2", "c2")
"""The nodes of other shards than that of `a` and `a2`."""


class Nodes:
    """What each node says of the cluster; a test changes it."""

    def __init__(self) -> None:
        self.promoted: set[str] = set()
        self.silent: set[str] = set()

    def said_by(self, name: str) -> bytes:
        """Its CLUSTER NODES."""
        if name in self.silent:
            raise foreign.ConnectionError("silent")
        return "\n".join(self._line(name, of) for of in PORTS).encode()

    def _line(self, name: str, of: str) -> str:
        has_moved = name in self.promoted
        masters = {**FOLLOWS, "a": "a2"} if has_moved else FOLLOWS
        if has_moved:
            del masters["a2"]
        slots = {"a2" if has_moved and n == "a" else n: range_ for n, range_ in SLOTS.items()}
        role = "slave" if of in masters else "master"
        flags = f"myself,{role}" if of == name else role
        epoch = 9 if has_moved and of == "a2" else PORTS[of]
        address = f"h:{PORTS[of]}@{PORTS[of]}"
        master = masters.get(of, "-")
        return f"{of} {address} {flags} {master} 0 0 {epoch} connected {slots.get(of, '')}"


class FakeRedis:
    """Answers CLUSTER NODES as one of them."""

    def __init__(self, nodes: Nodes, name: str) -> None:
        self._nodes = nodes
        self._name = name

    async def execute_command(self, *_: object) -> bytes:
        """Its view."""
        return self._nodes.said_by(self._name)

    async def aclose(self) -> None:
        """There is nothing to close."""


class Cluster:
    """A service's picture of these nodes."""

    def __init__(self) -> None:
        self.nodes = Nodes()
        self.clock = ManualClock()
        self.shards = ClusterShards()
        self.watch = ClusterWatch(
            self.shards,
            ["redis://h:2"],
            make_node=self._make,
            connect=self._client,
            interval_s=60,
            clock=self.clock,
        )

    @property
    def shard(self) -> Shard:
        """That of `a` and `a2`."""
        return next(iter(self.shards))

    def is_sure(self) -> bool:
        """Whether its master may answer what must miss nothing."""
        return self.shard.is_master_sure

    async def is_writable(self) -> bool:
        """Whether its master takes a write at once."""
        try:
            await self.shard.master.until_writable(lambda: 0.0)
        except StorageUnavailable:
            return False
        return True

    def _client(self, url: str) -> Any:
        port = int(url.rpartition(":")[2])
        return FakeRedis(self.nodes, next(name for name, p in PORTS.items() if p == port))

    def _make(self, name: str, url: str, is_master: bool) -> RedisNode:
        client: Redis = self._client(url)
        return RedisNode(
            name,
            client=client,
            waiting=client,
            probe=client,
            is_master=is_master,
            clock=self.clock,
        )


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    async with made.watch.opened():
        yield made


async def test_master_is_sure_while_most_of_the_other_shards_nodes_stand_by_it(
    cluster: Cluster,
) -> None:
    assert cluster.is_sure()
    cluster.clock.advance(SURE_FOR_S)
    assert not cluster.is_sure()
    cluster.nodes.silent = {"b"}
    await cluster.watch.look()
    assert cluster.is_sure()
    cluster.nodes.silent = {"b", "c2"}
    cluster.clock.advance(SURE_FOR_S)
    await cluster.watch.look()
    assert not cluster.is_sure()


async def test_neither_the_master_nor_its_replica_vouches_for_it(cluster: Cluster) -> None:
    cluster.nodes.silent = set(OTHERS)
    cluster.clock.advance(SURE_FOR_S)
    await cluster.watch.look()
    assert not cluster.is_sure()


async def test_first_start_holds_nothing(cluster: Cluster) -> None:
    assert await cluster.is_writable()


async def test_new_master_waits_until_nobody_can_be_sure_of_the_old_one(cluster: Cluster) -> None:
    cluster.nodes.promoted = {"a2"}
    cluster.nodes.silent = {"a"}
    await cluster.watch.look()
    assert cluster.shard.master.name == "h:4"
    # Whoever asks the other nodes is still told of the old one.
    assert not cluster.is_sure()
    cluster.clock.advance(HELD_FOR_S)
    assert not await cluster.is_writable()
    cluster.nodes.promoted |= {"b", "c", "c2"}
    await cluster.watch.look()
    assert cluster.is_sure()
    cluster.clock.advance(SURE_FOR_S)
    assert not await cluster.is_writable()
    cluster.clock.advance(HELD_FOR_S - SURE_FOR_S)
    assert await cluster.is_writable()


async def test_nodes_that_never_agree_do_not_end_all_writing(cluster: Cluster) -> None:
    cluster.nodes.promoted = {"a2"}
    cluster.nodes.silent = {"a"}
    await cluster.watch.look()
    cluster.clock.advance(HELD_AT_MOST_S)
    assert await cluster.is_writable()


async def test_master_that_was_replaced_is_no_shard_of_its_own(cluster: Cluster) -> None:
    """Whoever asks all shards would wait for it."""
    before = list(cluster.shards)
    cluster.nodes.promoted = {"a2", *OTHERS}
    cluster.nodes.silent = {"a"}
    await cluster.watch.look()
    assert list(cluster.shards) == before
    assert [node.name for node in cluster.shard.replicas] == ["h:1"]
