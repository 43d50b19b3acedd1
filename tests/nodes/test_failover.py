"""What is told of a failover, whatever became of the old master before that."""

import asyncio
from pathlib import Path

from redis.asyncio import Redis

from app.embedded import embedded_redis
from app.nodes.client import execute
from app.nodes.engine_options import EngineOptions
from app.nodes.history import (
    INFO_COMMAND,
    REMEMBERED_HISTORIES,
    REMEMBERED_WRITES,
    Discarded,
    WriteJournal,
    token_of,
)
from app.nodes.monitor import NodeMonitor
from app.nodes.node import RedisNode
from app.nodes.shard import Shard, assess
from app.settings import Settings
from app.storage.index_info import are_all_complete
from app.vectors import VectorFormat
from tests.conftest import DIMENSION
from tests.kit.replica_set import raw

WAIT_S = 90.0


def node(client: Redis, *, is_master: bool) -> RedisNode:
    name = "old" if is_master else "new"
    return RedisNode(name, client=client, waiting=client, probe=client, is_master=is_master)


async def write(old: RedisNode, *keys: str) -> None:
    """As the service's own writes, confirmed by this node."""
    for key in keys:
        await old.client.set(key, b"1")
        old.journal.note(token_of(await execute(old.client, *INFO_COMMAND)), [key])


async def follows(replica: Redis, master: Redis) -> bool:
    info = await replica.info("replication")
    wanted = (await master.info("replication"))["master_replid"]
    return bool(info["role"] == "slave" and info["master_replid"] == wanted)


async def until_follows(replica: Redis, master: Redis) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await follows(replica, master):
            await asyncio.sleep(0.05)


async def test_old_master_that_is_back_as_a_replica_is_told_of_all_the_same(tmp_path: Path) -> None:
    """What it says of itself then is the new master's history: its own is gone."""
    async with embedded_redis(Settings(data_dir=tmp_path, embedded_replicas=1)) as topology:
        first, second = topology.nodes
        async with raw(first.url) as one, raw(second.url) as two:
            await until_follows(two, one)
            old, new = node(one, is_master=True), node(two, is_master=False)
            shard = Shard()
            shard.set_roles(old, [new])
            monitor = NodeMonitor(
                shard,
                interval_s=60,
                max_lag_bytes=1,
                options=EngineOptions(VectorFormat(DIMENSION)),
                indexes_ready=are_all_complete,
            )
            await monitor.look()
            await write(old, "kept")
            await execute(one, "WAIT", 1, 20_000)
            await execute(two, "REPLICAOF", "NO", "ONE")
            await one.config_set("min-replicas-to-write", 0)
            await write(old, "lost-1", "lost-2", "lost-3")
            await execute(one, "REPLICAOF", "127.0.0.1", second.port)
            await until_follows(one, two)
            await monitor.look()  # it is the master still, as far as is known here
            shard.set_roles(new, [old])
            await monitor.look()
            told = await assess(old, new)
    assert told.lost_writes == 3
    assert told.lost_bytes is not None
    assert told.lost_bytes > 0


def noted(*writes: tuple[str, int]) -> WriteJournal:
    """A journal of one key at each of these histories and offsets."""
    journal = WriteJournal()
    for history, offset in writes:
        journal.note(f"{history}:{offset}", [f"{history}-{offset}"])
    return journal


def test_journal_tells_what_came_after_an_offset_and_in_later_histories() -> None:
    journal = noted(("first", 5), ("second", 10), ("second", 20), ("third", 3))
    journal.has_reached("second", 30)
    journal.has_reached("second", 25)
    assert journal.beyond("second", 10) == Discarded(20, ("second-20", "third-3"), is_whole=True)
    assert journal.beyond("third", 3) == Discarded(0, (), is_whole=True)
    assert journal.beyond("unknown", 0) is None


def test_journal_keeps_no_more_than_it_may() -> None:
    journal = noted(*((f"h{number}", 1) for number in range(REMEMBERED_HISTORIES + 1)))
    assert journal.beyond("h0", 0) is None
    assert journal.beyond("h1", 0) is not None
    full = noted(*(("h", offset) for offset in range(1, REMEMBERED_WRITES + 2)))
    told = full.beyond("h", 0)
    assert told is not None
    assert (len(told.keys), told.is_whole) == (REMEMBERED_WRITES, False)
