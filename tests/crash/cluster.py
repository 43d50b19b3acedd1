"""The Redis Cluster that is crashed: three masters with a replica each."""

import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any

from redis.crc import key_slot
from redis.exceptions import RedisError

from app.storage.cluster_map import SLOTS, ClusterMap, Group, Member, combine, read_nodes
from app.storage.embedded.cluster import MASTERS
from app.storage.embedded.node import REJOIN, free_port
from tests.crash.probe import probe
from tests.deploy.nodes import PASSWORD, Node, command, wait_until

NAMES = tuple(f"node-{number}" for number in range(1, 2 * MASTERS + 1))
"""The masters first, at the start; each one's replica three places after it."""
NODE_TIMEOUT_MS = 3000
"""Longer than where nothing else runs: a machine that is busy elsewhere is no fault."""
KEYS_AT_ONCE = 100
MIGRATE_TIMEOUT_MS = 5000
MOVE_TIMEOUT_S = 60.0


def configure(node: Node, peers: Iterable[Node]) -> None:
    """Make it a node of a cluster, before its first start, that starts as an embedded one does."""
    conf = node.folder / "conf" / "redis.conf"
    more = {
        "cluster-enabled": "yes",
        "cluster-port": free_port(),
        "cluster-node-timeout": NODE_TIMEOUT_MS,
        "cluster-require-full-coverage": "no",
    }
    lines = "".join(f"{name} {value}\n" for name, value in more.items())
    conf.write_text(conf.read_text() + lines)
    others = ",".join(f"{peer.host}:{peer.port}" for peer in peers if peer is not node)
    data = node.folder / "data"
    words = (sys.executable, "-I", "-S", REJOIN, "cluster", data, conf)
    rejoin = " ".join(map(str, (*words, f"{node.host}:{node.port}", others)))
    entrypoint = node.folder / "bin" / "docker-entrypoint.sh"
    head, _, server = entrypoint.read_text().rpartition("exec ")
    entrypoint.write_text(f"{head}exec {rejoin} {server}")
    node.environment["REDISCLI_AUTH"] = PASSWORD


def slot_of(agent: str) -> int:
    """The slot of an agent's memories."""
    return int(key_slot(agent.encode()))


class Cluster:
    """`nodes` by name. Everything here blocks."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes
        self._names = {node.port: name for name, node in nodes.items()}

    def form(self) -> None:
        """Make the running nodes one cluster."""
        names = list(self._nodes)
        for number, name in enumerate(names[:MASTERS]):
            low, high = SLOTS * number // MASTERS, SLOTS * (number + 1) // MASTERS - 1
            self._ask(name, "CLUSTER", "ADDSLOTSRANGE", low, high)
        for number, name in enumerate(names, 1):
            self._ask(name, "CLUSTER", "SET-CONFIG-EPOCH", number)
        first = self._nodes[names[0]]
        for name in names[1:]:
            node = self._nodes[name]
            bus = int(self._ask(name, "CONFIG", "GET", "cluster-port")[1])
            with first.client() as client:
                command(client, "CLUSTER", "MEET", node.host, node.port, bus)
        wait_until(lambda: all(len(self._view(name)) == len(names) for name in names))
        for name, master in zip(names[MASTERS:], names, strict=False):
            self._ask(name, "CLUSTER", "REPLICATE", str(self._ask(master, "CLUSTER", "MYID")))

    def map(self) -> ClusterMap:
        """Who has what, put together from all nodes that answer."""
        views = []
        for name in self._nodes:
            with suppress(RedisError, OSError):
                views.append(self._view(name))
        return combine(views)

    def masters(self) -> list[str]:
        """The nodes that have slots."""
        return [self._names[group.master.port] for group in self.map().groups if group.slots]

    def holders(self, agent: str) -> list[str]:
        """The nodes of the agent's shard, the master first."""
        group = self._group_of(slot_of(agent))
        return [self._names[member.port] for member in (group.master, *group.replicas)]

    def problems(self) -> list[str]:
        """What keeps it from being whole."""
        found = self.map()
        problems = [f"slots {sorted(found.moving)} are on their way"] if found.moving else []
        for name, node in self._nodes.items():
            with suppress(RedisError, OSError), probe(node) as client:
                info, own = client.cluster("info"), client.info("replication")
                if info["cluster_state"] != "ok" or int(info["cluster_slots_ok"]) != SLOTS:
                    problems.append(f"{name} sees {info['cluster_slots_ok']} slots served")
                elif client.info("persistence")["loading"]:
                    problems.append(f"{name} loads")
                elif own["role"] == "master" and own["connected_slaves"] != 1:
                    problems.append(f"{name}: master of {own['connected_slaves']}")
                elif own["role"] == "slave" and own["master_link_status"] != "up":
                    problems.append(f"{name}: replica, no link")
                continue
            problems.append(f"{name} does not answer")
        return problems

    def key_on(self, name: str) -> str:
        """A key whose slot this master has."""
        ranges = next(g.slots for g in self.map().groups if self._names[g.master.port] == name)
        keys = (f"crash_audit:{number}" for number in count())
        return next(k for k in keys if any(low <= slot_of(k) <= high for low, high in ranges))

    # --- moving a slot -------------------------------------------------------------------------
    def begin_move(self, agent: str, target: str) -> None:
        """Half of an agent's memories goes to another master, as `redis-cli --cluster reshard`
        does it; the slot is on its way from now on."""
        source, slot = self.holders(agent)[0], slot_of(agent)
        source_id = str(self._ask(source, "CLUSTER", "MYID"))
        target_id = str(self._ask(target, "CLUSTER", "MYID"))
        self._ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        self._ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        there = int(self._ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot))
        for _ in range(there // KEYS_AT_ONCE // 2):
            self._move_keys(source, target, slot)

    def end_move(self, agent: str, source: str, target: str) -> None:
        """The rest follows, and everybody is told."""
        slot, give_up_at = slot_of(agent), time.monotonic() + MOVE_TIMEOUT_S
        while self._move_keys(source, target, slot):
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"slot {slot} does not leave {source}")
        target_id = str(self._ask(target, "CLUSTER", "MYID"))
        for name in (target, source):
            self._ask(name, "CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def _move_keys(self, source: str, target: str, slot: int) -> bool:
        keys = self._ask(source, "CLUSTER", "GETKEYSINSLOT", slot, KEYS_AT_ONCE)
        if keys:
            to = self._nodes[target]
            where = ("MIGRATE", to.host, to.port, "", 0, MIGRATE_TIMEOUT_MS)
            self._ask(source, *where, "AUTH", PASSWORD, "KEYS", *keys)
        return bool(keys)

    # --- asking --------------------------------------------------------------------------------
    def _group_of(self, slot: int) -> Group:
        groups = self.map().groups
        return next(g for g in groups if any(low <= slot <= high for low, high in g.slots))

    def _view(self, name: str) -> list[Member]:
        with probe(self._nodes[name]) as client:
            client.response_callbacks.clear()
            return read_nodes(str(command(client, "CLUSTER NODES")))

    def _ask(self, name: str, *words: str | int) -> Any:
        with self._nodes[name].client() as client:
            client.response_callbacks.clear()
            return command(client, *words)
