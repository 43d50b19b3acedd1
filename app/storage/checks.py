"""Checks that a Redis loses no memory and that every stored memory can be found.

Judges the server by INFO, the indexes by FT.INFO, and whether the Sentinels agree and are enough to
replace a master. Only reads: nothing is created or repaired here.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from app import keys
from app.errors import StorageError
from app.nodes.client import Client, execute
from app.nodes.engine_options import EngineOptions, engine_version, shown, value_on
from app.nodes.groups.placement import all_agents
from app.nodes.groups.room import NEARLY_FULL
from app.nodes.redis_errors import refusal_of, translated
from app.nodes.sentinel import SentinelView
from app.nodes.shard import Shards
from app.storage.index import Indexes
from app.storage.index_info import are_all_complete, index_infos, index_names, own_index_names
from app.storage.schema import IndexInfo, IndexSchema

Verdict = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check; for a problem, also what to do. `part` names what was checked."""

    verdict: Verdict
    part: str
    sentence: str


Info = Mapping[str, Any]

TESTED_VERSION = (8, 0)
SECURE_VERSIONS = ((8, 2, 9), (8, 4, 6), (8, 6, 6), (8, 8, 2), (8, 10, 1))
"""The first version of each line with all known security fixes. Later lines have them."""
MAX_LAG_S = 10
MAX_LAG_BYTES = 64 * 1024 * 1024

_SECTIONS = ("server", "persistence", "memory", "replication")


async def check_server(
    node: Client, *, expected_replicas: int | None, options: EngineOptions
) -> list[Finding]:
    """Check version, engine, its settings, persistence, memory limit and replicas.

    Raise StorageError.
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
    """Check that this version of Redis was tested, and that it has the security fixes."""
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
    """Return the first version with all fixes in this line, or in the next line that has one."""
    return next((v for v in SECURE_VERSIONS if v[:2] >= found[:2]), found)


async def check_replica(node: Client, name: str) -> list[Finding]:
    """Check that this replica can answer searches. If it cannot be reached, say so."""
    try:
        with translated():
            info = await node.info("replication", "persistence")
        if info["role"] != "slave":
            sentence = (
                "is not a replica: REPLICAOF it to the master, or correct MEMORY_REPLICA_URLS or "
                "MEMORY_GROUPS."
            )
        elif (engine := await _engine(node)).verdict != "ok":
            # Without an engine, Redis ends as soon as it has copied the master's data.
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


async def _engine(node: Client) -> Finding:
    try:
        await index_names(node)
        with translated():
            version = await engine_version(node)
    except StorageError as error:
        if refusal_of(error) is None:
            raise
        return Finding(
            "problem",
            "engine",
            "The query engine is missing (FT.SEARCH is unknown): use the image redis:8, or load "
            "redisearch.so.",
        )
    return Finding("ok", "engine", f"query engine {shown(version) if version else 'built in'}")


async def _options(node: Client, options: EngineOptions) -> list[Finding]:
    """List the engine settings that the service still has to set, which is no problem."""
    findings = []
    for option in options:
        try:
            with translated():
                found = await value_on(node, option)
        except StorageError as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            return [Finding("note", "engine", f"The engine's settings may not be read: {refusal}")]
        if found is not None and found != option.value:
            sentence = (
                f"{option.name} is {found}, so {option.otherwise} until a service starts, which "
                f"sets it to {option.value}: set it in redis.conf."
            )
            findings.append(Finding("note", "engine", sentence))
    return findings


def persistence(info: Info) -> Iterator[Finding]:
    """Check that confirmed writes reach the disk."""
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
    """Check that a full Redis keeps its data, and that there is room."""
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
    """Check that this is the master and its replicas keep up. `expected` None: any number."""
    if info["role"] != "master":
        yield Finding(
            "problem",
            "replication",
            f"This Redis is a replica of {info['master_host']}:{info['master_port']}: set "
            "MEMORY_REDIS_URL, or the group's first address in MEMORY_GROUPS, to the master.",
        )
        return
    replicas = [v for k, v in sorted(info.items()) if k.startswith("slave") and k[5:].isdigit()]
    if info.get("min_slaves_good_slaves") == 0:
        yield Finding(
            "problem",
            "replication",
            "Every write is refused: min-replicas-to-write asks for replicas, and none is "
            "connected. Start them, or see their logs.",
        )
    elif expected is not None and len(replicas) < expected:
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


INDEX_PART = "index"
SHOWN = 10
"""How many problems of each kind are listed; the others are counted."""


async def check_indexes(shards: Shards, indexes: Indexes) -> list[Finding]:
    """Check that every partition's index exists, is complete and has the right schema.

    Raise StorageError.
    """
    wanted = await _wanted(shards, indexes)
    names: list[str] = []
    infos: dict[str, IndexInfo | None] = {}
    for shard in shards:
        if not shard.has_master:
            continue
        node = shard.master.client
        own = await own_index_names(node)
        aliases = {alias for alias in wanted if shards.holds(shard, alias)}
        infos |= await index_infos(node, sorted({*own, *aliases}))
        names += own
    there = {name: info for name in names if (info := infos[name]) is not None}
    problems = [
        *_first(_unready(wanted, infos, there)),
        *_first(_misfits(indexes, there)),
        *_first(_failures(there)),
    ]
    documents = sum(info.documents for alias in wanted if (info := infos[alias]) is not None)
    ok = f"{len(wanted)} of {len(wanted)} indexes ready, {documents:,} memories in them"
    return [
        *(
            [Finding("problem", INDEX_PART, text) for text in problems]
            or [Finding("ok", INDEX_PART, ok)]
        ),
        *_moving(wanted, infos, there),
        *_leftovers(wanted, there),
    ]


async def _wanted(shards: Shards, indexes: Indexes) -> Mapping[str, IndexSchema]:
    """Return the indexes that must exist because something is stored under them, by alias."""
    names: set[str] = set()
    for shard in shards:
        if shard.has_master:
            found = await all_agents(shard.master.client)
            names.update(found)
            shards.learn(shard, found)
    concepts = keys.SEMANTIC_PARTITION
    with translated():
        master = shards.shard_of(concepts).master.client
        has_concepts = await execute(master, "EXISTS", concepts)
        has_history = await execute(master, "EXISTS", keys.SEMANTIC_HISTORY_KEPT)
    schemas = [indexes.episodic(name) for name in sorted(names)]
    schemas += [indexes.semantic()] if has_concepts else []
    schemas += [indexes.semantic_history()] if has_history else []
    return {schema.alias: schema for schema in schemas}


def _unready(
    wanted: Mapping[str, IndexSchema],
    infos: Mapping[str, IndexInfo | None],
    there: Mapping[str, IndexInfo],
) -> Iterator[str]:
    for alias, schema in wanted.items():
        building = infos[alias] or there.get(_names(schema)[0])
        if building is not None and building.is_complete and infos[alias] is not None:
            continue
        if building is not None and not building.is_complete:
            yield (
                f"The index {alias} is being built ({building.progress:.0%}): wait, its searches "
                "are answered 503 until then."
            )
        else:
            yield (
                f"The index {alias} is missing though memories are stored: the next search or "
                "store there rebuilds it from them."
            )


def _misfits(indexes: Indexes, there: Mapping[str, IndexInfo]) -> Iterator[str]:
    return (text for info in there.values() if (text := indexes.misfit(info)) is not None)


def _failures(there: Mapping[str, IndexInfo]) -> Iterator[str]:
    for name, info in there.items():
        if info.failures:
            yield (
                f"The index {name} refused {info.failures} hashes, which no search finds: they "
                f"were written by another program under {', '.join(info.prefixes)}; delete them, "
                f"then run FT.DROPINDEX {name}, and the service rebuilds it."
            )


def _moving(
    wanted: Mapping[str, IndexSchema],
    infos: Mapping[str, IndexInfo | None],
    there: Mapping[str, IndexInfo],
) -> list[Finding]:
    """Return findings on indexes beside the one in use: being built, or left by a move."""
    return [
        Finding(
            "note",
            INDEX_PART,
            f"The index {second.name} ({second.progress:.0%} built) stands beside {in_use.name}, "
            "which serves all searches: a move between FLAT and HNSW is in progress, or was "
            "interrupted; a running service finishes it or cleans it up at its next check.",
        )
        for alias, schema in wanted.items()
        if (in_use := infos[alias]) is not None
        for name in _names(schema)
        if (second := there.get(name)) is not None and second.name != in_use.name
    ][:SHOWN]


def _names(schema: IndexSchema) -> list[str]:
    """Return the names of the indexes that may be behind this alias."""
    if not schema.movable:
        return [schema.name]
    return [schema.as_("FLAT").name, schema.as_("HNSW").name]


def _leftovers(wanted: Mapping[str, IndexSchema], there: Mapping[str, IndexInfo]) -> list[Finding]:
    """Return a finding on indexes of the other layout, which cost memory and write time."""
    in_use = {name for schema in wanted.values() for name in _names(schema)}
    unused = [name for name in there if name not in in_use]
    if not unused or not wanted:
        return []
    kinds = Counter("per agent" if name.count(":") > 1 else "shared" for name in unused)
    counted = " and ".join(f"{count} {kind}" for kind, count in kinds.items())
    return [
        Finding(
            "note",
            INDEX_PART,
            f"{counted} indexes are not used with this MEMORY_LAYOUT, for example {unused[0]}: "
            "FT.DROPINDEX frees their memory (the stored memories stay).",
        )
    ]


def _first(sentences: Iterator[str]) -> Sequence[str]:
    shown = list(islice(sentences, SHOWN))
    more = sum(1 for _ in sentences)
    return [*shown, f"... and {more} more like the last one."] if more else shown


SENTINEL_PART = "sentinel"
FEWEST = 3


def check_sentinels(
    views: Sequence[tuple[str, SentinelView | None]], master_name: str
) -> list[Finding]:
    """Return a finding for each Sentinel with a problem, or one for all. None without Sentinels."""
    if not views:
        return []
    newest = max((view.epoch for _, view in views if view is not None), default=0)
    problems = [
        f"The Sentinel {address} does not answer or knows no {master_name}: see its log."
        for address, view in views
        if view is None
    ]
    problems += [
        f"The Sentinel {address} names another master, as of an earlier failover: see whether it "
        "reaches the others."
        for address, view in views
        if view is not None and view.epoch < newest
    ]
    if len(views) < FEWEST:
        problems.append(
            f"{len(views)} Sentinels cannot outvote one that is lost: run 3, on 3 machines."
        )
    agreed = f"{len(views)} Sentinels agree on the master of {master_name}"
    return [Finding("problem", SENTINEL_PART, text) for text in problems] or [
        Finding("ok", SENTINEL_PART, agreed)
    ]
