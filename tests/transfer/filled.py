"""A memory with everything that an export must keep, and what is compared afterwards."""

import re
import zlib
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
from redis.asyncio import Redis

from app.nodes.shard import lone_shard
from app.settings import Settings
from app.storage.index import Indexes
from app.transfer.export_memory import Exporter, ExportReport, OnProgress
from app.transfer.import_memory import Importer, ImportReport
from app.transfer.read_memory import ConceptRevisions, HashWalk
from app.transfer.write_memory import MemoryRestorer
from tests.conftest import DIMENSION

AGENTS = ["bot", "Bot", " a,b | c ", 'q"uote:*', "ünïcode 🚀"]
PER_AGENT = 23
CONCEPTS = 7

Hashes = dict[bytes, dict[bytes, bytes]]


def ignore_progress(what: str, done: int, total: int) -> None:
    """No bar."""


def experience(agent_id: str, i: int) -> dict[str, Any]:
    rng = np.random.default_rng([i, zlib.crc32(agent_id.encode())])
    body: dict[str, Any] = {
        "id": f"m:{i} {{x}}" if i == 3 else f"m{i}",
        "agent_id": agent_id,
        "product_id": ["BTC-USD", "a,b", " padded "][i % 3],
        "regime": "bull",
        "state_vector": [float(x) for x in rng.normal(size=DIMENSION)],
        "timestamp": 1_700_000_000.123456 + i,
        "terminal": i % 4 == 0,
        "metadata": {"n": i, "deep": [{"é": None}, 1e-300, -0.0, "\u0000"]},
    }
    if i % 3:
        body |= {"action": "buy", "reward": float(rng.normal()), "outcome_at": 1_800_000_000.5}
    if i % 2:
        body["next_state_vector"] = [float(x) for x in rng.normal(size=DIMENSION)]
    return body


def concept(i: int) -> dict[str, Any]:
    rng = np.random.default_rng(i)
    return {
        "id": f"c{i}",
        "memory_type": ["PATTERN", "REGIME", "STRATEGY"][i % 3],
        "regime_name": "bull",
        "concept_vector": [float(x) for x in rng.normal(size=DIMENSION)],
        "sharpe_ratio": float(rng.normal()),
        "win_rate": 0.5,
        "metadata": {"n": i},
    }


EXPERIENCES = [experience(agent_id, i) for agent_id in AGENTS for i in range(PER_AGENT)]


async def fill(api: httpx.AsyncClient, redis: Redis) -> None:
    """Store everything; leave gaps in `seq`; add fields that only later releases know."""
    for path, batch in (
        ("episodic", EXPERIENCES),
        ("semantic", [concept(i) for i in range(CONCEPTS)]),
    ):
        answer = await api.post(f"/v1/{path}/batch", json={"memories": batch})
        assert answer.json()["failed"] == 0, answer.text
    for i in (0, 7, 8):
        assert (await api.delete(f"/v1/episodic/bot/m{i}")).status_code == 204
    await redis.hset("episodic:{bot}:m1", mapping={"pinned": 1, "odd": b"\xff\x00"})
    await redis.hset(
        "semantic:{semantic_memory_idx}:c1",
        mapping={"access_count": 41, "last_accessed": "1700000000.5", "pinned": "true"},
    )


async def hashes(redis: Redis) -> Hashes:
    """Every memory's hash, without `seq`."""
    found: Hashes = {}
    async for key in redis.scan_iter(count=1000):
        if re.match(rb"(episodic|semantic):", key):
            fields = cast("dict[bytes, bytes]", await redis.hgetall(key))
            found[key] = {name: value for name, value in fields.items() if name != b"seq"}
    return found


async def order(redis: Redis) -> dict[bytes, list[bytes]]:
    """Each partition's keys in the order of `seq`."""
    partitions: dict[bytes, list[tuple[int, bytes]]] = {}
    for key in await hashes(redis):
        seq = int(await redis.hget(key, "seq") or 0)
        partitions.setdefault(key[: key.index(b"}")], []).append((seq, key))
    return {name: [key for _, key in sorted(keys)] for name, keys in partitions.items()}


def indexes(redis: Redis, settings: Settings) -> Indexes:
    return Indexes(
        lone_shard(redis),
        layout=settings.layout,
        dimension=settings.dimension,
        vector_type=settings.vector_type,
        wait_s=10,
    )


async def export_to(
    path: Path,
    redis: Redis,
    settings: Settings,
    *,
    agent_id: str | None = None,
    on_progress: OnProgress = ignore_progress,
) -> ExportReport:
    own = indexes(redis, settings)
    walk = HashWalk(lone_shard(redis), own, timeout_ms=1000)
    former = ConceptRevisions(lone_shard(redis), own.stored_as)
    exporter = Exporter(walk, former, own, dimension=settings.dimension, on_progress=on_progress)
    return await exporter.export(path, agent_id=agent_id, overwrite=False)


async def import_from(
    path: Path, redis: Redis, settings: Settings, *, agent_id: str | None = None
) -> ImportReport:
    own = indexes(redis, settings)
    restorer = MemoryRestorer(lone_shard(redis), own)
    importer = Importer(restorer, stored_as=own.stored_as, on_progress=ignore_progress)
    return await importer.import_(path, agent_id=agent_id)
