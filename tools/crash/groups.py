"""One group of the deployment: a master and its replicas, and the Sentinels that watch it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
from redis import Redis
from redis.exceptions import RedisError

from app import keys
from tests.deploy.nodes import MASTER, REPLICAS, Node, command
from tools.crash.memories import Memory
from tools.crash.probe import probe

MASTER_NAME = "coinswarm"
SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """`name` is empty if there is only one group. `sentinels` may watch other groups as well."""

    name: str
    nodes: Mapping[str, Node]
    sentinels: Mapping[str, Node]

    @property
    def master_name(self) -> str:
        """Return the Sentinels' name for the master."""
        return self.name or MASTER_NAME

    @property
    def first(self) -> str:
        """Return the node that was the master first."""
        return next(iter(self.nodes))

    def master(self) -> str:
        """Return the node that a majority of Sentinels calls master; else the first."""
        said = [address for name in self.sentinels if (address := self._master_said_by(name))]
        ports = {(node.host, node.port): name for name, node in self.nodes.items()}
        majority = max(said, key=said.count, default=None)
        if majority is None or 2 * said.count(majority) <= len(self.sentinels):
            return self.first
        return ports[majority]

    def _master_said_by(self, sentinel: str) -> tuple[str, int] | None:
        with suppress(RedisError, OSError), probe(self.sentinels[sentinel]) as client:
            words = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master_name)
            host, port = command(client, *words)
            return str(host), int(port)
        return None

    def replicas(self) -> list[str]:
        """Return all nodes but the master."""
        master = self.master()
        return [name for name in self.nodes if name != master]

    def records(self, memories: Sequence[Memory]) -> dict[int, dict[str, Any] | None]:
        """Return what the master has under the keys of one agent's memories, by number; nothing if
        it cannot be asked, or the agent is elsewhere."""
        with suppress(RedisError, OSError), probe(self.nodes[self.master()]) as client:
            if self.name and not holds(client, memories[0].agent):
                return {}
            pipeline = client.pipeline(transaction=False)
            for memory in memories:
                pipeline.hget(keys.episodic_memory(memory.agent, str(memory.id)), "record")
            found = pipeline.execute()
            return {
                memory.number: None if record is None else orjson.loads(record)
                for memory, record in zip(memories, found, strict=True)
            }
        return {}

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the nodes, and with what the Sentinels say of them."""
        master = self.master()
        for name, node in self.nodes.items():
            yield from self._problems_of(name, node, master)
        for name in self.sentinels:
            yield from self._problems_of_sentinel(name)

    def _problems_of(self, name: str, node: Node, master: str) -> Iterator[str]:
        try:
            with probe(node) as client:
                info = client.info("replication")
                loading = client.info("persistence")["loading"]
        except (RedisError, OSError):
            yield f"{name} does not answer"
            return
        if loading:
            yield f"{name} loads"
        elif name == master:
            others = len(self.nodes) - 1
            if info["role"] != "master" or info["connected_slaves"] != others:
                yield f"{name}: {info['role']} of {info['connected_slaves']}"
        elif info["role"] != "slave" or info["master_link_status"] != "up":
            yield f"{name}: {info['role']}, no link"
        elif info["master_port"] != self.nodes[master].port:
            yield f"{name} follows another"

    def _problems_of_sentinel(self, name: str) -> Iterator[str]:
        try:
            with probe(self.sentinels[name]) as client:
                flat = command(client, "SENTINEL", "MASTER", self.master_name)
        except (RedisError, OSError):
            yield f"{name} does not answer"
            return
        said = dict(zip(flat[::2], flat[1::2], strict=True)) if isinstance(flat, list) else flat
        counts = (int(said["num-slaves"]), int(said["num-other-sentinels"]))
        if (str(said["flags"]), *counts) != ("master", len(REPLICAS), len(SENTINELS) - 1):
            yield f"{name} sees {said['flags']} {counts}"


def holds(client: Redis, agent: str) -> bool:
    """Return whether this node has the agent's memory: not a copy that arrives or was left."""
    pipeline = client.pipeline(transaction=False)
    pipeline.exists(keys.episodic_partition(agent))
    pipeline.hget(keys.MOVING, agent)
    is_there, held = pipeline.execute()
    return bool(is_there) and not str(held or "").startswith(("moved ", "arriving "))


def node_names(group: str, *, is_alone: bool) -> tuple[str, ...]:
    """Return the names of a group's nodes, the first master first."""
    names = (MASTER,) if is_alone else (MASTER, *REPLICAS)
    return tuple(f"{group}-{name}" for name in names) if group else names
