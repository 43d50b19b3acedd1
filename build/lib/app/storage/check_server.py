"""Is this Redis run so that no memory is lost? Judged by what it says of itself (INFO)."""

from collections.abc import Iterator, Mapping
from typing import Any

import redis.exceptions as foreign
from redis.asyncio import Redis

from app.errors import StorageError
from app.storage.client import execute
from app.storage.engine_options import EngineOptions, value_on
from app.storage.engine_version import engine_version, shown
from app.storage.finding import Finding
from app.storage.index import are_all_complete
from app.storage.redis_errors import translated

Info = Mapping[str, Any]

TESTED_VERSION = (8, 0)
SECURE_VERSIONS = ((8, 2, 9), (8, 4, 6), (8, 6, 6), (8, 8, 2), (8, 10, 1))
"""The first version of each line that has all security fixes known. Later lines have them."""
NEARLY_FULL = 0.9
MAX_LAG_S = 10
MAX_LAG_BYTES = 64 * 1024 * 1024

_SECTIONS = ("server", "persistence", "memory", "replication")


async def check_server(
    node: Redis, *, expected_replicas: int | None, options: EngineOptions
) -> list[Finding]:
    """Check version, engine, its settings, persistence, memory limit and replicas.

    Raises StorageError.
    """
    with translated():
        info = await node.info(*_SECTIONS)
    return [
        *version(info),
        engine := await _engine(node),
        *(await _options(node, options) if engine.verdict == "ok" else ()),
        *persistence(info),
        *memory(info),
        *replication(info, expected_replicas),
    ]


def version(info: Info) -> Iterator[Finding]:
    """Is it a Redis that the service was tested with, and has it the security fixes?"""
    text = str(info["redis_version"])
    found = tuple(int(part) for part in text.split(".")[:3])
    if found[:2] < TESTED_VERSION:
        yield Finding(
            "problem", "redis", f"Redis {text} is older than what is tested: use 8.2.9 or later."
        )
        return
    yield Finding("ok", "redis", f"Redis {text}")
    needed = _secure_version(found)
    if found < needed:
        wanted = ".".join(map(str, needed))
        yield Finding(
            "note", "redis", f"Redis {text} lacks security fixes: upgrade to {wanted} or later."
        )


def _secure_version(found: tuple[int, ...]) -> tuple[int, ...]:
    """The first version with all fixes in this line, or else in the next one that has any."""
    return next((v for v in SECURE_VERSIONS if v[:2] >= found[:2]), found)


async def check_replica(node: Redis, name: str) -> list[Finding]:
    """Can this replica answer searches? One that cannot be reached is a finding, no error."""
    try:
        with translated():
            info = await node.info("replication", "persistence")
        if info["role"] != "slave":
            sentence = "is no replica: REPLICAOF it to the master, or correct MEMORY_REPLICA_URLS."
        elif (engine := await _engine(node)).verdict != "ok":
            # Without it Redis ends as soon as it has copied the master's data.
            sentence = f"cannot answer searches. {engine.sentence}"
        elif info["master_link_status"] != "up":
            sentence = "has lost its master: see its log for the address and the password."
        elif not await are_all_complete(node):
            sentence = "builds its indexes and gets no reads until then: wait."
        else:
            return [Finding("ok", "replica", f"{name}: linked to its master, indexes complete")]
    except StorageError as error:
        sentence = f"cannot be used. {error.detail}"
    return [Finding("problem", "replica", f"{name} {sentence}")]


async def _engine(node: Redis) -> Finding:
    try:
        await execute(node, "FT._LIST")
        version = await engine_version(node)
    except foreign.ResponseError:
        return Finding(
            "problem",
            "engine",
            "The query engine is missing (FT.SEARCH is unknown): use the image redis:8, or load "
            "redisearch.so.",
        )
    return Finding("ok", "engine", f"query engine {shown(version) if version else 'built in'}")


async def _options(node: Redis, options: EngineOptions) -> list[Finding]:
    """Which settings does the service still have to set? Those that it sets are no problem."""
    findings = []
    for option in options:
        try:
            found = await value_on(node, option)
        except foreign.ResponseError as error:
            return [Finding("note", "engine", f"The engine's settings may not be read: {error}")]
        if found is not None and found != option.value:
            sentence = (
                f"{option.name} is {found}, so {option.otherwise} until a service starts, which "
                f"sets it to {option.value}: set it in redis.conf."
            )
            findings.append(Finding("note", "engine", sentence))
    return findings


def persistence(info: Info) -> Iterator[Finding]:
    """Is what is confirmed written to the disk?"""
    problems = []
    if not info["aof_enabled"]:
        problems.append(
            "The append-only file is off, so a restart loses memories: CONFIG SET appendonly yes, "
            "and the same in redis.conf."
        )
    if info["aof_enabled"] and info["aof_last_write_status"] != "ok":
        problems.append(
            "The last write to the append-only file failed: free disk space, see Redis's log."
        )
    for name, what in (
        ("aof_last_bgrewrite_status", "rewriting the append-only file"),
        ("rdb_last_bgsave_status", "saving a snapshot"),
    ):
        if info[name] != "ok":
            problems.append(f"The last try at {what} failed: free disk space and memory.")
    yield from (Finding("problem", "persistence", sentence) for sentence in problems)
    if not problems:
        yield Finding("ok", "persistence", "append-only file on, last write ok")


def memory(info: Info) -> Iterator[Finding]:
    """Does Redis keep what it has when memory runs out, and is there room?"""
    policy, limit, used = info["maxmemory_policy"], info["maxmemory"], info["used_memory"]
    if policy != "noeviction":
        yield Finding(
            "problem",
            "eviction",
            f"maxmemory-policy is {policy}, so a full Redis deletes memories silently: CONFIG SET "
            "maxmemory-policy noeviction, and the same in redis.conf.",
        )
    else:
        yield Finding("ok", "eviction", "noeviction: a full Redis refuses writes, loses nothing")
    if not limit:
        yield Finding(
            "note",
            "memory",
            f"{used:,} bytes used and no limit: set maxmemory, or the system ends Redis when "
            "memory runs out.",
        )
    elif used >= NEARLY_FULL * limit:
        yield Finding(
            "problem",
            "memory",
            f"{used:,} of {limit:,} bytes are used: prune memories or raise maxmemory before "
            "writes are refused.",
        )
    else:
        yield Finding("ok", "memory", f"{used:,} of {limit:,} bytes used")


def replication(info: Info, expected: int | None) -> Iterator[Finding]:
    """Is this the master, and do its replicas keep up? `expected` None: any number is right."""
    if info["role"] != "master":
        yield Finding(
            "problem",
            "replication",
            f"This Redis is a replica of {info['master_host']}:{info['master_port']}: set "
            "MEMORY_REDIS_URL to the master.",
        )
        return
    replicas = [v for k, v in sorted(info.items()) if k.startswith("slave") and k[5:].isdigit()]
    if expected is not None and len(replicas) < expected:
        yield Finding(
            "problem",
            "replication",
            f"{len(replicas)} of {expected} replicas are connected: see the log of the missing "
            "ones.",
        )
    elif not replicas:
        yield Finding("ok", "replication", "master without replicas")
    for replica in replicas:
        yield _replica(replica, int(info["master_repl_offset"]))


def _replica(replica: Mapping[str, Any], master_offset: int) -> Finding:
    name = f"{replica['ip']}:{replica['port']}"
    behind_bytes = master_offset - int(replica.get("offset", 0))
    lag_s = int(replica.get("lag", 0))
    if replica["state"] != "online":
        sentence = f"The replica {name} is not in sync ({replica['state']}): see its log."
    elif lag_s > MAX_LAG_S or behind_bytes > MAX_LAG_BYTES:
        sentence = (
            f"The replica {name} was last heard of {lag_s} s ago and is {behind_bytes:,} bytes "
            "behind: see its load and the network."
        )
    else:
        return Finding("ok", "replication", f"replica {name}: {behind_bytes:,} bytes behind")
    return Finding("problem", "replication", sentence)
