"""A service's picture of a cluster whose nodes say what a test wants."""

from typing import Any

import redis.exceptions as foreign
from redis.asyncio import Redis

from app.errors import StorageUnavailable
from app.storage.cluster import ClusterShards, ClusterWatch
from app.storage.redis_node import RedisNode
from app.storage.shard import Shard
from tests.fakes import ManualClock

PORTS = {"a": 1, "b": 2, "c": 3, "a2": 4, "b2": 5, "c2": 6, "idle": 7}
SLOTS = {"a": "0-5460", "b": "5461-10922", "c": "10923-16383"}
FOLLOWS = {"a2": "a", "b2": "b", "c2": "c"}
OTHERS = ("b", "c", "b2", "c2")
"""The nodes of other shards than that of `a` and `a2`. `idle` is a master that has no slot."""


class Nodes:
    """What each node says of the cluster; a test changes it. `promoted`: those who say that `a2`
    has replaced `a`. `marks`: slots on their way, as that node alone writes them."""

    def __init__(self) -> None:
        self.promoted: set[str] = set()
        self.silent: set[str] = set()
        self.failed: set[str] = set()
        self.slots = SLOTS
        self.marks: dict[str, str] = {}
        self.asked: list[str] = []

    def said_by(self, name: str) -> bytes:
        """Its CLUSTER NODES."""
        self.asked.append(name)
        if name in self.silent:
            raise foreign.ConnectionError("silent")
        return "\n".join(self._line(name, of) for of in PORTS).encode()

    def _line(self, name: str, of: str) -> str:
        has_moved = name in self.promoted
        masters = {**FOLLOWS, "a": "a2"} if has_moved else FOLLOWS
        if has_moved:
            del masters["a2"]
        slots = {"a2" if has_moved and n == "a" else n: range_ for n, range_ in self.slots.items()}
        role = "slave" if of in masters else "master"
        flags = f"myself,{role}" if of == name else role
        if of in self.failed and of != name:
            flags += ",fail"
        epoch = 9 if has_moved and of == "a2" else PORTS[of]
        mark = f" {self.marks[of]}" if of == name and of in self.marks else ""
        address = f"h:{PORTS[of]}@{PORTS[of]}"
        master = masters.get(of, "-")
        return f"{of} {address} {flags} {master} 0 0 {epoch} connected {slots.get(of, '')}{mark}"


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
            ["redis://h:2", "redis://h:1"],
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
