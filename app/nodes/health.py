"""Checks nodes: their readiness, whether they suit the memory, and who follows whom."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import redis.exceptions as foreign
from redis.asyncio import Redis

from app.errors import (
    ConfigurationError,
    IndexRebuilding,
    QueryEngineMissing,
    StartError,
    StorageError,
    StorageLoading,
    StorageUnavailable,
)
from app.nodes.changes import ChangeChannels
from app.nodes.client import execute
from app.nodes.engine_options import EngineOptions
from app.nodes.node import MASTER, REPLICA, RedisNode
from app.nodes.redis_errors import translate, translated
from app.nodes.shard import Shard, Shards

Probe = Callable[[], Awaitable[Mapping[str, object]]]
"""Checks one part. Returns what is worth knowing, with a `status` if it is not simply `ok`.

It raises MemoryServiceError if the part failed.
"""


def all_probes(shards: Shards) -> Mapping[str, Probe]:
    """Return the probes of all nodes; with several shards, named `shard-1/master` and so on."""
    return {
        f"{shard.name}/{part}" if shard.name else part: probe
        for shard in shards
        for part, probe in node_probes(shard).items()
    }


def node_probes(shard: Shard) -> Mapping[str, Probe]:
    """Return the probes of a shard's nodes by current role: `master`, `replica-1` and so on."""
    named = {f"{REPLICA}-{number}": node for number, node in enumerate(shard.replicas, 1)}
    probes = {part: node_probe(node) for part, node in named.items()}
    return {MASTER: _master_probe(shard), **probes}


def _master_probe(shard: Shard) -> Probe:
    async def probe() -> Mapping[str, object]:
        failover = shard.last_failover
        told = {} if failover is None else {"last_failover": failover.as_json()}
        return {**await node_probe(shard.master)(), **told}

    return probe


def node_probe(node: RedisNode) -> Probe:
    """Return a probe for a node's role, address, lag and memory, never its password.

    The probe raises StorageError.
    """

    async def probe() -> Mapping[str, object]:
        with translated():
            info = await node.probe.info("server", "replication", "memory", "persistence")
        if info["loading"]:
            raise StorageLoading(
                f"The node {node.name} is loading its data: wait until it is done."
            )
        if node.status.is_master and not node.indexes_ready:
            raise IndexRebuilding(
                f"The node {node.name} is still building its indexes: searches there are refused "
                "until they are complete.",
                retry_after_s=1,
            )
        status = node.status
        problem = status.problem
        if info["aof_enabled"] and info["aof_last_write_status"] != "ok":
            problem = "cannot write its append-only file"
        return {
            "status": "ok" if problem is None and status.in_rotation else "degraded",
            "role": info["role"],
            "address": f"{_host(node.probe)}:{info['tcp_port']}",
            "problem": problem,
            "lag_bytes": status.lag_bytes,
            "redis_version": info["redis_version"],
            "used_memory_bytes": info["used_memory"],
            "maxmemory_bytes": info["maxmemory"],
            "process_id": info["process_id"],
        }

    return probe


def channel_probe(channels: ChangeChannels) -> Probe:
    """Return a probe that raises StorageUnavailable while other processes' writes may be missed."""

    async def probe() -> Mapping[str, object]:
        silent = channels.silent
        if silent == [""]:
            raise StorageUnavailable("The change channel is down: the cache answers nothing.")
        if silent:
            raise StorageUnavailable(
                f"The change channel of {' and '.join(silent)} is down: the cache answers nothing "
                "of the agents there."
            )
        return {}

    return probe


def _host(node: Redis) -> str:
    return str(node.connection_pool.connection_kwargs.get("host", "127.0.0.1"))


def _address(node: Redis) -> str:
    words = node.connection_pool.connection_kwargs
    return str(words.get("path") or f"{_host(node)}:{words.get('port', 6379)}")


async def require_alone(node: Redis) -> None:
    """Check that the node is not in cluster mode. Raise ConfigurationError or StorageError.

    In cluster mode the query engine of Redis 8 sends each search to every master, and its answers
    are wrong while a node is down or a slot has moved (docs/decisions/0018-no-redis-cluster.md).
    """
    _require_first_database(node)
    with translated():
        info = await node.info("cluster")
    if info.get("cluster_enabled"):
        raise ConfigurationError(
            f"The Redis at {_address(node)} runs in cluster mode, where a search can miss memories "
            "or find them twice while a node is down or after a slot has moved: set "
            "cluster-enabled to no, and use a master with replicas and Sentinels."
        )


async def require_engine(node: Redis, options: EngineOptions) -> None:
    """Check that the node has the query engine, and set the engine's settings.

    Raise StartError.
    """
    _require_first_database(node)
    try:
        await execute(node, "FT._LIST")
    except foreign.ResponseError as error:
        if "unknown command" not in str(error).lower():
            raise _cannot_start(translate(error)) from error
        raise QueryEngineMissing(
            "This Redis has no query engine (FT.SEARCH is unknown): use the image redis:8, or load "
            "redisearch.so."
        ) from error
    except foreign.RedisError as error:
        raise _cannot_start(translate(error)) from error
    await options.set_on(node)


def _require_first_database(node: Redis) -> None:
    database = int(node.connection_pool.connection_kwargs.get("db") or 0)
    if database != 0:
        raise ConfigurationError(
            f"Redis database {database} cannot be used, because the query engine sees only "
            "database 0: remove the number from MEMORY_REDIS_URL and MEMORY_REPLICA_URLS."
        )


def _cannot_start(error: Exception) -> StartError:
    detail = error.detail if isinstance(error, StorageError) else str(error)
    return StartError(f"Redis cannot be used: {detail}")


@dataclass(frozen=True, slots=True)
class NodeLine:
    """One node: its role, address, state and bytes behind the master (None: it holds no data)."""

    role: str
    address: str
    state: str
    lag_bytes: int | None


async def read_topology(master: Redis) -> list[NodeLine]:
    """Return the given node, then its replicas. Raise StorageError."""
    with translated():
        info: Mapping[str, Any] = await master.info("server", "replication")
    own = f"port {info['tcp_port']}"
    offset = int(info["master_repl_offset"])
    if info["role"] != "master":
        followed = f"{info['master_host']}:{info['master_port']}"
        state = f"follows {followed}, link {info['master_link_status']}"
        return [NodeLine("replica", own, state, 0)]
    replicas = [info[f"slave{number}"] for number in range(int(info["connected_slaves"]))]
    return [
        NodeLine("master", own, "online", 0),
        *(
            NodeLine(
                "replica",
                f"{replica['ip']}:{replica['port']}",
                str(replica["state"]),
                max(0, offset - int(replica["offset"])),
            )
            for replica in replicas
        ),
    ]
