"""Who is given what: the objects of one process and the lines between them."""

import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from redis.asyncio import Redis

from app.api.dependencies import Services
from app.audit import Audit
from app.memory.access_counting import AccessCounting, counting
from app.memory.episodic import EpisodicOperations
from app.memory.episodic_query import EpisodicQueryOperations
from app.memory.health import HealthOperations
from app.memory.outcome import OutcomeOperations
from app.memory.periodic import periodically
from app.memory.retention import RetentionOperations, RetentionRules
from app.memory.semantic import SemanticOperations
from app.memory.semantic_query import SemanticQueryOperations
from app.memory.stats import StatsOperations
from app.read_path.assemble import assemble_read_path, breakers
from app.read_path.loop_delay import LoopDelay
from app.read_path.stage import Recall
from app.read_path.versions import PartitionVersions
from app.settings import Settings
from app.storage import keys
from app.storage.access_store import AccessStore
from app.storage.change_channel import ChangeChannel
from app.storage.client import create_redis
from app.storage.engine import require_engine
from app.storage.episodic_store import EpisodicStore
from app.storage.figures import Figures
from app.storage.index import Indexes
from app.storage.memory_query import MemoryQuery
from app.storage.memory_store import MemoryStore
from app.storage.node_health import channel_probe, index_probe, node_probe
from app.storage.nodes import MASTER, NodeMonitor, RedisNode
from app.storage.readable import Guard, ReadableNodes
from app.storage.retention_store import RetentionStore
from app.storage.semantic_store import SemanticStore
from app.storage.shared_connection import SharedConnection
from app.storage.slowlog import SlowLog
from app.storage.statistics import Statistics
from app.storage.turns import Turns
from app.storage.vector_search import VectorSearch
from app.tracing import is_tracing

PROBE_CONNECTIONS = 4
"""For looking at a node, for readiness and for the change channel."""


@dataclass(frozen=True, slots=True)
class _Storage:
    master: Redis
    readable: ReadableNodes
    indexes: Indexes
    query: MemoryQuery
    store: MemoryStore
    statistics: Statistics
    slow_log: SlowLog


@dataclass(frozen=True, slots=True)
class _Background:
    accesses: AccessCounting
    retention: RetentionOperations


async def assemble(settings: Settings, urls: Sequence[str], stack: AsyncExitStack) -> Services:
    """Everything of one process; what must be closed is pushed on the stack.

    `urls`: the master's address, then the replicas'. Raises StartError when Redis is not fit or
    what is stored does not fit the settings.
    """
    clients = [_client(settings, url, stack) for url in urls]
    await require_engine(clients[0])
    indexes = Indexes(
        clients[0],
        layout=settings.layout,
        dimension=settings.dimension,
        wait_s=settings.index_wait_s,
    )
    await indexes.verify()
    nodes = _nodes(settings, urls, clients, indexes, stack)
    monitor = NodeMonitor(
        nodes[0],
        nodes[1:],
        interval_s=settings.node_poll_interval_ms / 1000,
        max_lag_bytes=settings.replica_max_lag_bytes,
    )
    await stack.enter_async_context(monitor.watching())
    indexes.replicas_in_rotation = lambda: [n.client for n in nodes[1:] if n.status.in_rotation]
    figures = Figures(
        nodes,
        interval_s=settings.metrics_interval_s,
        slower_than_us=settings.slowlog_slower_than_us,
    )
    await stack.enter_async_context(figures.collecting())
    versions = PartitionVersions()

    def moved(partition: str) -> None:
        versions.moved(keys.partition_owner(partition))

    channel = ChangeChannel(nodes[0].probe, moved=moved, lost=versions.all_moved)
    await stack.enter_async_context(channel.listening())
    delay = LoopDelay()
    await stack.enter_async_context(delay.measuring())
    breaker_of = breakers(settings, delay.allowance_s)
    path = assemble_read_path(
        nodes[0],
        nodes[1:],
        breaker_of=breaker_of,
        versions=versions,
        is_channel_alive=lambda: channel.is_alive,
        own_delay_s=delay.allowance_s,
        settings=settings,
    )
    stack.push_async_callback(path.aclose)

    def guard_of(name: str) -> Guard:
        # Bulk writes and long lists take their time by nature: that is no node's slowness.
        return partial(breaker_of(name).watching, counts_slow=False)

    readable = ReadableNodes(nodes[0], nodes[1:], guard_of)
    storage = _Storage(
        master=clients[0],
        readable=readable,
        indexes=indexes,
        query=MemoryQuery(readable, indexes=indexes, timeout_ms=settings.search_timeout_ms),
        store=MemoryStore(nodes[0], readable, guard=guard_of(MASTER), moved=moved),
        statistics=Statistics(readable, indexes),
        slow_log=SlowLog(nodes),
    )
    background = await _background(settings, storage, stack)
    health = HealthOperations(
        {
            **{node.name: node_probe(node) for node in nodes},
            "index": index_probe(readable, indexes),
            "cache_channel": channel_probe(channel),
        },
        needed=frozenset(node.name for node in nodes),
    )
    return _services(settings, storage, path.recall, background, health)


async def _background(settings: Settings, storage: _Storage, stack: AsyncExitStack) -> _Background:
    """What works by itself beside the requests."""
    turns = Turns(storage.master)
    counters = AccessStore(
        storage.master, storage.readable, storage.store, process=uuid.uuid4().hex
    )
    accesses = await stack.enter_async_context(
        counting(
            counters,
            turns,
            flush_interval_s=settings.access_flush_interval_s,
            fold_interval_s=settings.access_fold_interval_s,
            now=time.time,
        )
    )
    retention = RetentionOperations(
        store=RetentionStore(
            query=storage.query,
            store=storage.store,
            readable=storage.readable,
            indexes=storage.indexes,
        ),
        accesses=accesses,
        turns=turns,
        rules=RetentionRules(
            episodic_max_age_days=settings.retention_episodic_max_age_days,
            keep_sharpe_ratio_above=settings.retention_keep_sharpe_ratio_above,
            keep_access_count_above=settings.retention_keep_access_count_above,
            semantic_min_age_days=settings.retention_semantic_min_age_days,
        ),
        now=time.time,
        audit=_audit(settings),
    )
    interval_s = settings.retention_interval_s
    if interval_s > 0:
        await stack.enter_async_context(
            periodically(lambda: retention.run_in_turn(interval_s), interval_s, "retention")
        )
    return _Background(accesses, retention)


def _audit(settings: Settings) -> Audit:
    return Audit(settings.audit_file, syncs=settings.audit_fsync)


def _nodes(
    settings: Settings,
    urls: Sequence[str],
    clients: Sequence[Redis],
    indexes: Indexes,
    stack: AsyncExitStack,
) -> list[RedisNode]:
    names = [MASTER, *(f"replica-{number}" for number in range(1, len(urls)))]
    nodes = []
    for name, url, client in zip(names, urls, clients, strict=True):
        timeout_ms = settings.search_timeout_ms
        search = VectorSearch(
            client,
            name=name,
            indexes=indexes,
            timeout_ms=timeout_ms,
            shared=_shared_connection(client, settings, stack),
        )
        probe = _client(settings, url, stack, max_connections=PROBE_CONNECTIONS)
        nodes.append(RedisNode(name, client=client, probe=probe, search=search))
    return nodes


def _shared_connection(
    client: Redis, settings: Settings, stack: AsyncExitStack
) -> SharedConnection | None:
    """The searches' own way to a node. None while traces are taken: they follow the client's."""
    if is_tracing():
        return None
    shared = SharedConnection(client, read_timeout_s=settings.redis_read_timeout_s)
    stack.push_async_callback(shared.aclose)
    return shared


def _client(
    settings: Settings, url: str, stack: AsyncExitStack, max_connections: int | None = None
) -> Redis:
    client = create_redis(
        url, client_name="coinswarm-memory", settings=settings, max_connections=max_connections
    )
    stack.push_async_callback(client.aclose)
    return client


def _services(
    settings: Settings,
    storage: _Storage,
    recall: Recall,
    background: _Background,
    health: HealthOperations,
) -> Services:
    dimension, now, audit = settings.dimension, time.time, _audit(settings)
    episodic = EpisodicStore(storage.store, storage.indexes)
    semantic = SemanticStore(storage.store, storage.indexes)
    return Services(
        episodic=EpisodicOperations(
            store=episodic, recall=recall, dimension=dimension, now=now, audit=audit
        ),
        episodic_query=EpisodicQueryOperations(
            query=storage.query, store=storage.store, indexes=storage.indexes, now=now, audit=audit
        ),
        outcome=OutcomeOperations(episodic, now),
        semantic=SemanticOperations(
            store=semantic,
            recall=recall,
            accesses=background.accesses,
            dimension=dimension,
            now=now,
            audit=audit,
        ),
        semantic_query=SemanticQueryOperations(
            query=storage.query, store=storage.store, indexes=storage.indexes, audit=audit
        ),
        slow_log=storage.slow_log,
        stats=StatsOperations(storage.statistics, now=now),
        retention=background.retention,
        health=health,
    )
