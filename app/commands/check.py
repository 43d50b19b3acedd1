"""`check`: reports whether the memory is safe and can be searched."""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace

from app.commands.command import DONE, FAILED, Command
from app.commands.output import complain, say
from app.connect import configured_replicas, connected_shards, indexes_for
from app.errors import MemoryServiceError, StorageUnavailable
from app.nodes.addresses import Addresses, configured_addresses
from app.nodes.client import Client
from app.nodes.engine_options import EngineOptions
from app.nodes.sentinel import each_view
from app.nodes.shard import Shard
from app.settings import Settings, load_settings
from app.storage.assumptions import look_at_engine
from app.storage.checks import Finding, check_indexes, check_replica, check_sentinels, check_server
from app.vectors import VectorFormat

CANNOT_CONNECT = 2
AWAY = "group"
"""The part of a finding about a group that cannot be reached."""

DESCRIPTION = """Look at the Redis that the settings name (or the embedded one): version, query
engine, persistence, eviction, memory, replicas and indexes. Reports what is wrong and how to
correct it. Changes nothing (but see --engine).

Exit status: 0 all is well, 1 something is wrong, 2 Redis cannot be reached."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine",
        action="store_true",
        help="also test what the service assumes of the query engine (docs/reference/engine.md): "
        "stores a few thousand small hashes under episodic_probe: and removes them",
    )


def _run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    try:
        findings = asyncio.run(look(settings, tries_engine=arguments.engine))
    except MemoryServiceError as error:
        complain(f"{error.detail}\n")
        return CANNOT_CONNECT
    say(report(findings))
    return FAILED if any(found.verdict == "problem" for found in findings) else DONE


async def look(settings: Settings, *, tries_engine: bool) -> list[Finding]:
    """Return what was found. Raise StartError or StorageError."""
    async with connected_shards(settings) as shards, configured_replicas(settings) as replicas:
        findings: list[Finding] = []
        options = EngineOptions(VectorFormat(settings.dimension, settings.vector_type))
        parts = (configured_addresses(settings) or Addresses()).parts
        for shard in shards:
            part, own = parts.get(shard.name, Addresses()), replicas.get(shard.name, [])
            found = await _of_shard(shard, part, own, settings, options)
            prefix = f"{shard.name}: " if shard.name else ""
            findings += [
                f if f.part == AWAY else replace(f, sentence=f"{prefix}{f.sentence}") for f in found
            ]
        if any(found.part == "engine" and found.verdict == "problem" for found in findings):
            return findings
        if tries_engine:
            for shard in (shard for shard in shards if shard.has_master):
                own = replicas.get(shard.name, [])
                findings += await look_at_engine(shard.master.client, options.stored_as, own)
        indexes = indexes_for(settings, shards, "command")
        return [*findings, *await check_indexes(shards, indexes)]


async def _of_shard(
    shard: Shard,
    addresses: Addresses,
    replicas: Sequence[Client],
    settings: Settings,
    options: EngineOptions,
) -> list[Finding]:
    """Check one shard's master, its replicas with known addresses, and its Sentinels."""
    views = await each_view(addresses, settings)
    followers = max((len(view.replicas) for _, view in views if view is not None), default=0)
    expected = len(replicas) or followers or None
    found = (
        await check_server(shard.master.client, expected_replicas=expected, options=options)
        if shard.has_master
        else [away(shard)]
    )
    for number, replica in enumerate(replicas, 1):
        found += await check_replica(replica, f"replica-{number}")
    return [*found, *check_sentinels(views, addresses.master_name)]


def away(shard: Shard) -> Finding:
    """Return the finding for a group whose master cannot be reached."""
    try:
        shard.master.require_up()
    except StorageUnavailable as error:
        return Finding("problem", AWAY, f"{error.detail} See docs/runbooks/groups.md.")
    raise AssertionError(f"group {shard.name} has a master")


def report(findings: Sequence[Finding]) -> str:
    """Return one line for each finding."""
    return "".join(f"{f.verdict:8} {f.part:12} {f.sentence}\n" for f in findings)


COMMAND = Command("check", "say what is wrong with Redis", _run, _add_arguments, DESCRIPTION)
