"""An index that is being built answers with the part that is there: nobody takes that for all."""

from collections.abc import AsyncIterator

import numpy as np
import pytest
from redis.asyncio import Redis

from app import keys
from app.errors import IndexRebuilding
from app.model import EpisodicFilter
from app.nodes.client import create_redis, execute
from app.nodes.engine_options import EngineOptions
from app.nodes.monitor import NodeMonitor
from app.nodes.node import RedisNode
from app.nodes.reads import ReadRouter
from app.nodes.shard import Shard, Shards
from app.nodes.shared_connection import SharedConnection
from app.settings import Settings
from app.storage.agent_summaries import AgentSummaries
from app.storage.histories import HistoryPosition, HistoryReader
from app.storage.index import Indexes, partition_of
from app.storage.index_info import are_all_complete, ask_indexes
from app.storage.listing import MemoryQuery, PageQuery
from app.storage.map_source import MapSource
from app.storage.samples import Populations
from app.storage.statistics import Statistics
from app.transfer.read_memory import HashWalk
from app.vectors import VectorFormat
from tests.conftest import DIMENSION
from tests.kit.storage_parts import NoGuards

AGENT = "a"
MEMORIES = 20_000
SLOWLY = ("M", 128, "EF_CONSTRUCTION", 4000)
"""Seconds of building, for a handful of questions that take milliseconds."""


async def begin_to_build(redis: Redis) -> None:
    """Store memories, then create an index over them."""
    rng = np.random.default_rng(1)
    pipeline = redis.pipeline(transaction=False)
    for seq in range(1, MEMORIES + 1):
        state = rng.normal(size=DIMENSION).astype("<f4").tobytes()
        numbers = ("seq", seq, "timestamp", seq)
        key = keys.episodic_memory(AGENT, str(seq))
        pipeline.execute_command("HSET", key, *numbers, "state_vector", state, "record", "{}")
    pipeline.hset(keys.episodic_partition(AGENT), mapping={"seq": MEMORIES, "memories": MEMORIES})
    pipeline.sadd(keys.AGENTS, AGENT)
    await pipeline.execute()
    alias = keys.episodic_index(AGENT)
    prefix = keys.episodic_prefix(AGENT)
    await execute(
        redis,
        *("FT.CREATE", f"{alias}:hnsw", "PREFIX", 1, prefix, "SCHEMA"),
        *("seq", "NUMERIC", "SORTABLE", "timestamp", "NUMERIC", "SORTABLE"),
        *("recorded_at", "NUMERIC", "reward", "NUMERIC", "regime", "TAG", "rev", "NUMERIC"),
        *("state_vector", "VECTOR", "HNSW", 10, "TYPE", "FLOAT32", "DIM", DIMENSION),
        *("DISTANCE_METRIC", "COSINE", *SLOWLY),
    )
    await execute(redis, "FT.ALIASADD", alias, f"{alias}:hnsw")


@pytest.fixture
async def node(redis: Redis, settings: Settings) -> AsyncIterator[RedisNode]:
    """The master of a Redis that builds an index; nobody knows that its indexes are whole."""
    assert settings.redis_url is not None
    url = settings.redis_url.get_secret_value()
    clients = [create_redis(url, client_name="test", settings=settings) for _ in range(3)]
    shared = SharedConnection(clients[0], read_timeout_s=5)
    node = RedisNode(
        "master",
        client=clients[0],
        waiting=clients[1],
        probe=clients[2],
        is_master=True,
        shared=shared,
    )
    yield node
    await node.aclose()


def shards_of(node: RedisNode) -> Shards:
    shard = Shard()
    shard.set_roles(node, [])
    return Shards([shard])


async def test_no_question_is_answered_from_a_part(redis: Redis, node: RedisNode) -> None:
    await begin_to_build(redis)
    shards = shards_of(node)
    indexes = Indexes(shards, layout="per_agent", dimension=DIMENSION, wait_s=5)
    reads = ReadRouter(shards, NoGuards())
    query = MemoryQuery(reads, indexes=indexes, timeout_ms=1000)
    schema = indexes.episodic(AGENT)
    walk, whole = HashWalk(shards, indexes, timeout_ms=1000), partition_of(indexes, AGENT)
    page = PageQuery(schema, ("*",), "timestamp", "desc", limit=1, after=None)
    questions = [
        query.page(page),
        query.count(schema, ["*"]),
        query.keys(schema, ["*"], 10),
        Populations(reads, indexes=indexes, timeout_ms=1000).read(
            AGENT, EpisodicFilter(), stratify_by=None
        ),
        MapSource(reads, indexes, timeout_ms=1000).read(AGENT, EpisodicFilter(), 10),
        HistoryReader(reads, indexes=indexes, timeout_ms=1000).changes(AGENT, HistoryPosition()),
        AgentSummaries(reads, indexes, timeout_ms=1000).regimes(AGENT),
        walk.count([whole]),
        anext(walk.pages(whole, after_seq=0, page_rows=10)),
    ]
    for question in questions:
        with pytest.raises(IndexRebuilding, match="being built on this node"):
            await question
    (figures,) = await AgentSummaries(reads, indexes, timeout_ms=1000).of([AGENT], since=0.0)
    assert figures.memories is None
    (partition,) = await Statistics(reads, indexes).partitions([AGENT], [])
    assert partition.memories is None
    assert not await are_all_complete(node.client), "the machine was too fast: nothing was shown"


async def test_a_lost_connection_makes_the_indexes_unsure_until_the_next_check(
    redis: Redis, node: RedisNode
) -> None:
    """Redis may be back before the next check, with indexes that it builds anew."""
    monitor = NodeMonitor(
        next(iter(shards_of(node))),
        interval_s=60,
        max_lag_bytes=1,
        options=EngineOptions(VectorFormat(DIMENSION)),
        indexes_ready=are_all_complete,
    )
    asked = [("nothing", ("CLIENT", "ID"))]
    (first,) = await ask_indexes(node, asked)
    assert isinstance(first, int)
    is_sure = node.has_whole_indexes
    assert not is_sure, "nobody has looked at it yet"
    await monitor.look()
    is_sure = node.has_whole_indexes
    assert is_sure
    assert node.shared is not None
    (shared,) = await node.shared.ask([b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n"])
    await redis.client_kill_filter(_id=str(shared))
    (again,) = await node.shared.ask([b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n"])
    assert again != shared
    is_sure = node.has_whole_indexes
    assert not is_sure, "the process behind the new connection is unknown"
    await monitor.look()
    assert node.has_whole_indexes
