"""An embedded Redis Cluster: three masters and their replicas, on one data folder.

Each node's `nodes.conf` says who it is, whom it follows and which slots it has, so a restart finds
the roles as they were left, failovers included. Only the addresses in it are old then: ports are
free ones, taken anew at each start, and are put into the files before the nodes read them.
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.exceptions as foreign
from redis.asyncio import Redis

from app.errors import EmbeddedRedisError
from app.storage.client import execute
from app.storage.embedded.node import LOOPBACK, EmbeddedNode

CLUSTER_FOLDER = "cluster"
MASTERS = 3
"""The fewest with which a majority outlives one of them."""
SLOTS = 16_384
NODES_FILE = "nodes.conf"
NODE_TIMEOUT_MS = 2000
"""Silence after which the others agree that a node is dead; a replica stands for election about a
second later. Shorter, a machine that is only busy loses masters that live."""
POLL_INTERVAL_S = 0.05

_MYSELF = re.compile(r"^([0-9a-f]{40}) \S+ \S*\bmyself\b", re.MULTILINE)
_LINE = re.compile(r"^([0-9a-f]{40}) [^\s,]*(\S*) (\S+)", re.MULTILINE)
_STALE_FLAGS = {"fail", "fail?", "noaddr"}


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a node serves clients, and where it talks to the other nodes."""

    client: int
    bus: int


@dataclass(frozen=True, slots=True)
class _Member:
    """One node as another one sees it (a line of CLUSTER NODES)."""

    node_id: str
    port: int
    master_id: str | None
    is_linked: bool
    slots: frozenset[int]


def node_count(folder: Path, replicas: int) -> int:
    """How many nodes run: those asked for, and every one that the folder has.

    Any of them may be the master of its shard now, whatever the settings say today.
    """
    there = [int(path.name.removeprefix("node-")) for path in folder.glob("node-*")]
    return max([MASTERS * (1 + replicas), *there])


def readdress(folder: Path, ports: Mapping[str, Ports]) -> None:
    """Write the nodes' addresses of this start into the files of all of them, by name."""
    files = {name: folder / name / NODES_FILE for name in ports}
    texts = {name: path.read_text("ascii") for name, path in files.items() if path.is_file()}
    known = {
        found[1]: ports[name] for name, text in texts.items() if (found := _MYSELF.search(text))
    }
    for name, text in texts.items():
        files[name].write_text(_LINE.sub(lambda line: _readdressed(line, known), text), "ascii")


def _readdressed(line: re.Match[str], known: Mapping[str, Ports]) -> str:
    node_id, rest, flags = line.groups()
    ports = known.get(node_id)
    if ports is None:
        return line[0]
    left = [flag for flag in flags.split(",") if flag not in _STALE_FLAGS]
    return f"{node_id} {LOOPBACK}:{ports.client}@{ports.bus}{rest} {','.join(left)}"


async def form_cluster(nodes: Sequence[EmbeddedNode], *, timeout_s: float) -> None:
    """Make the running nodes one cluster that serves every slot, or find that they are one.

    Each step looks at what is there first, so that a start that was interrupted is finished by
    the next one. Raises EmbeddedRedisError.
    """
    clients = [Redis.from_url(node.url, protocol=2) for node in nodes]
    try:
        async with asyncio.timeout(timeout_s):
            await _form(nodes, clients)
    except TimeoutError as error:
        raise EmbeddedRedisError(
            f"The embedded Redis Cluster did not form within {timeout_s:g} s: raise "
            "MEMORY_EMBEDDED_START_TIMEOUT_S, or see redis.log in the folders of its nodes."
        ) from error
    except foreign.RedisError as error:
        raise EmbeddedRedisError(f"The embedded Redis Cluster did not form: {error}.") from error
    finally:
        for client in clients:
            await client.aclose()


async def _form(nodes: Sequence[EmbeddedNode], clients: Sequence[Redis]) -> None:
    first = clients[0]
    for number, client in enumerate(clients, 1):
        if await _is_new(client):
            await execute(client, "CLUSTER", "SET-CONFIG-EPOCH", number)
    await _assign_slots(clients)
    for node in nodes[1:]:
        await execute(first, "CLUSTER", "MEET", LOOPBACK, node.port, node.bus_port or 0)
    await _until(lambda client: _knows_all(client, nodes), clients)
    for number in range(MASTERS, len(nodes)):
        await _follow(clients[number], nodes[number], nodes[number % MASTERS])
    await _until(_is_whole, clients)


async def _until(condition: Callable[[Redis], Awaitable[bool]], clients: Sequence[Redis]) -> None:
    """Until this holds for every node, each as it sees the cluster itself."""
    for client in clients:
        while True:
            if await condition(client):
                break
            await asyncio.sleep(POLL_INTERVAL_S)


async def _is_new(client: Redis) -> bool:
    info: Mapping[str, str] = await client.cluster("info")
    return info["cluster_known_nodes"] == "1" and info["cluster_current_epoch"] == "0"


async def _assign_slots(clients: Sequence[Redis]) -> None:
    """Give each of the first masters its share, as far as no node has it."""
    taken: set[int] = set()
    for client in clients:
        for member in (await _members(client)).values():
            taken |= member.slots
    for number, client in enumerate(clients[:MASTERS]):
        low, high = SLOTS * number // MASTERS, SLOTS * (number + 1) // MASTERS
        free = [slot for slot in range(low, high) if slot not in taken]
        if free:
            words = (bound for start, end in _ranges(free) for bound in (start, end))
            await execute(client, "CLUSTER", "ADDSLOTSRANGE", *words)


async def _knows_all(client: Redis, nodes: Sequence[EmbeddedNode]) -> bool:
    linked = {m.port for m in (await _members(client)).values() if m.is_linked}
    return linked >= {node.port for node in nodes}


async def _follow(client: Redis, node: EmbeddedNode, wanted: EmbeddedNode) -> None:
    """Make a new node a replica in the shard of `wanted`, whichever node is its master now."""
    members = await _members(client)
    own = next(m for m in members.values() if m.port == node.port)
    if own.master_id is not None or own.slots:
        return
    shard = next(m for m in members.values() if m.port == wanted.port)
    await execute(client, "CLUSTER", "REPLICATE", shard.master_id or shard.node_id)


async def _is_whole(client: Redis) -> bool:
    """Whether this node sees all slots served, and follows its master if it has one."""
    info: Mapping[str, str] = await client.cluster("info")
    own: Mapping[str, Any] = await client.info("replication")
    return (
        info["cluster_state"] == "ok"
        and int(info["cluster_slots_ok"]) == SLOTS
        and (own["role"] == "master" or own["master_link_status"] == "up")
    )


async def _members(client: Redis) -> dict[str, _Member]:
    text = await execute(client, b"CLUSTER", "NODES")
    members = [_member(line) for line in text.decode().splitlines()]
    return {member.node_id: member for member in members}


def _member(line: str) -> _Member:
    node_id, address, flags, master_id, _, _, _, link, *slots = line.split()
    return _Member(
        node_id=node_id,
        port=int(address.partition("@")[0].rpartition(":")[2]),
        master_id=None if master_id == "-" else master_id,
        is_linked=link == "connected" and "handshake" not in flags,
        slots=frozenset(slot for words in slots for slot in _slots_in(words)),
    )


def _slots_in(words: str) -> Iterator[int]:
    """`5` or `5-9`; `[5->-...]` is a slot under way, which is listed at its owner as well."""
    if not words.startswith("["):
        low, _, high = words.partition("-")
        yield from range(int(low), int(high or low) + 1)


def _ranges(slots: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = before = slots[0]
    for slot in slots[1:]:
        if slot != before + 1:
            yield start, before
            start = slot
        before = slot
    yield start, before
