"""What each part says of itself when readiness is asked for."""

from collections.abc import Awaitable, Callable, Mapping

from redis.asyncio import Redis

from app.errors import IndexRebuilding, StorageLoading, StorageUnavailable
from app.storage.change_channel import ChangeChannel, ChangeChannels
from app.storage.client import execute
from app.storage.index import Indexes
from app.storage.readable import ReadableNodes
from app.storage.redis_errors import translated
from app.storage.redis_node import MASTER, REPLICA, RedisNode
from app.storage.shard import Shard, Shards

Probe = Callable[[], Awaitable[Mapping[str, object]]]


def all_probes(shards: Shards) -> Mapping[str, Probe]:
    """What to ask of each node; of several shards by name, `shard-1/master` and so on."""
    return {
        f"{shard.name}/{part}" if shard.name else part: probe
        for shard in shards
        for part, probe in node_probes(shard).items()
    }


def node_probes(shard: Shard) -> Mapping[str, Probe]:
    """What to ask of each node, by the part that it plays now: `master`, `replica-1` and so on."""
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
    """Role, address, lag and memory of a node, never its password. Raises StorageError."""

    async def probe() -> Mapping[str, object]:
        with translated():
            info = await node.probe.info("server", "replication", "memory", "persistence")
        if info["loading"]:
            raise StorageLoading(f"The node {node.name} loads its data: wait until it is done.")
        if node.status.is_master and not node.is_whole:
            raise IndexRebuilding(
                f"The node {node.name} still builds its indexes: searches there are refused until "
                "they are complete.",
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


def index_probe(readable: ReadableNodes, indexes: Indexes) -> Probe:
    """How many indexes there are, and of which kind. Raises StorageError."""

    async def names(node: Redis) -> list[bytes]:
        with translated():
            found: list[bytes] = await execute(node, "FT._LIST")
        return found

    async def probe() -> Mapping[str, object]:
        found = [await readable.read_on(shard, names) for shard in readable.shards]
        count = len({name for some in found for name in some})
        return {"layout": indexes.layout, "dimension": indexes.dimension, "indexes": count}

    return probe


def channel_probe(channel: ChangeChannel | ChangeChannels) -> Probe:
    """Whether other processes' writes are heard. Raises StorageUnavailable."""

    async def probe() -> Mapping[str, object]:
        if not channel.is_alive:
            raise StorageUnavailable("The change channel is down: nothing is answered from cache.")
        return {}

    return probe


def _host(node: Redis) -> str:
    return str(node.connection_pool.connection_kwargs.get("host", "127.0.0.1"))
