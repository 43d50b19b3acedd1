"""`topology`: shows the nodes, and how far behind each replica is."""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace

from app.commands.command import DONE, Command
from app.commands.output import say
from app.connect import connected_shards
from app.nodes.addresses import Addresses, configured_addresses
from app.nodes.health import NodeLine, read_topology
from app.nodes.node import MASTER
from app.nodes.sentinel import SentinelView, each_view
from app.nodes.shard import Shard
from app.settings import Settings, load_settings

DESCRIPTION = """Show the master of the Redis that the settings name (or of the embedded one), its
replicas with the bytes that each is behind, and the master that each Sentinel names. Changes
nothing."""


def _run(_: argparse.Namespace) -> int:
    say(table(asyncio.run(topology(load_settings()))))
    return DONE


async def topology(settings: Settings) -> list[NodeLine]:
    """Return every node, then every Sentinel. Raise StartError or StorageError."""
    async with connected_shards(settings) as shards:
        nodes = [line for shard in shards for line in await _lines(shard)]
    parts = (configured_addresses(settings) or Addresses()).parts
    for name, part in parts.items():
        views = await each_view(part, settings)
        nodes += [_named(name, _sentinel_line(*found)) for found in views]
    return nodes


async def _lines(shard: Shard) -> list[NodeLine]:
    """Return a shard's nodes, the group's name before each address."""
    if not shard.has_master:
        return [NodeLine(MASTER, shard.name, "does not answer", None)]
    lines = await read_topology(shard.master.client)
    return [_named(shard.name, line) for line in lines]


def _named(group: str, line: NodeLine) -> NodeLine:
    return replace(line, address=f"{group} {line.address}".lstrip())


def _sentinel_line(address: str, view: SentinelView | None) -> NodeLine:
    named = "does not answer" if view is None else f"names {view.master[0]}:{view.master[1]}"
    return NodeLine("sentinel", address, named, None)


def table(nodes: Sequence[NodeLine]) -> str:
    """Return one line for each node."""
    return "".join(
        f"{node.role:8} {node.address:24} {node.state:12}"
        + ("\n" if node.lag_bytes is None else f" {node.lag_bytes} bytes behind\n")
        for node in nodes
    )


COMMAND = Command("topology", "show the master and its replicas", _run, description=DESCRIPTION)
