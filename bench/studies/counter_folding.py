"""What folding saves: searches of semantic memory with their hits counted in two ways, and not.

    python -m bench.studies.counter_folding

folded   counted beside the concepts and moved into them in the background, as the service does
touched  written into each hit's indexed hash, one HSET a hit, after the answer
none     not counted at all: what counting costs

A real embedded Redis of its own, 2,000 random concepts of 256 numbers, top 10, 8 askers that wait
for nothing but their answers (and, with `touched`, their writes). The questions are random, so that
every concept is hit: the most that folding can have to do. The ways take turns. `folded` folds in
the background while it is asked, with the service's own settings; what is left then is folded at
the end, as at a stop, and that time is given, too. A latency is that of an answer. At the end the
counters are compared with what was asked.
"""

import asyncio
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from redis.asyncio import Redis

from app.audit import Audit
from app.memory.access_counting import AccessCounting, counting
from app.memory.semantic import SemanticOperations
from app.read_path.stage import OneByOne
from app.records import Answer, SemanticMemory
from app.schemas import SemanticSearch
from app.settings import Settings
from app.storage import keys
from app.storage.access_store import AccessStore
from app.storage.client import create_redis
from app.storage.embedded import embedded_redis
from app.storage.index import Indexes
from app.storage.memory_query import MemoryQuery
from app.storage.memory_store import MemoryStore
from app.storage.readable import ReadableNodes
from app.storage.semantic_store import Kept, SemanticStore
from app.storage.shard import Shards, lone_shard
from app.storage.turns import Turns
from app.storage.vector_search import VectorSearch
from app.vectors import VectorFormat, to_base64

CONCEPTS = 2000
DIMENSION = 256
TOP_K = 10
ASKERS = 8
ROUNDS = 3
ROUND_S = 6.0
SEED = 7


@dataclass
class Setup:
    """The storage under measurement."""

    redis: Redis
    shards: Shards
    settings: Settings
    readable: ReadableNodes
    store: MemoryStore
    concepts: SemanticStore
    recall: OneByOne


@dataclass
class Measured:
    """What one way did."""

    searches: int = 0
    asking_s: float = 0.0
    total_s: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def line(self, name: str) -> str:
        """A row of the table."""
        p50, p99 = np.percentile(self.latencies_ms, [50, 99])
        spread = f"({min(self.rates):,.0f} to {max(self.rates):,.0f})"
        after_s = (self.total_s - self.asking_s) / len(self.rates)
        rate = statistics.median(self.rates)
        return f"{name:8} {rate:10,.0f} {spread:18} {p50:8.2f} {p99:8.2f} {after_s:10.1f}"


class NotCounting(AccessCounting):
    """Leaves the counters as they were found."""

    def live(self, found):  # type: ignore[no-untyped-def]
        return list(found)

    def count(self, found):  # type: ignore[no-untyped-def]
        pass


Search = Callable[[SemanticSearch], Awaitable[Answer]]


@asynccontextmanager
async def folded(setup: Setup) -> AsyncIterator[Search]:
    """As the service counts."""
    counters = AccessStore(setup.shards, setup.readable, setup.store, process=uuid.uuid4().hex)
    async with counting(
        counters,
        Turns(setup.shards),
        flush_interval_s=setup.settings.access_flush_interval_s,
        fold_interval_s=setup.settings.access_fold_interval_s,
        now=time.time,
    ) as accesses:
        yield operations(setup, accesses).search


@asynccontextmanager
async def none(setup: Setup) -> AsyncIterator[Search]:
    """Searching alone."""
    counters = AccessStore(setup.shards, setup.readable, setup.store, process="nobody")
    idle = NotCounting(counters, Turns(setup.shards), fold_interval_s=1, now=time.time)
    yield operations(setup, idle).search


async def touch(redis: Redis, answer: Answer) -> None:
    """Write each hit's counters into its indexed hash, in one round trip."""
    pipeline = redis.pipeline(transaction=False)
    now = time.time()
    for hit in answer.hits:
        assert hit.accesses is not None
        # One HSET with the count as it was found: cheaper than HINCRBY and HSET, if not exact.
        count = hit.accesses.count + 1
        fields: list[str | float] = ["access_count", count, "last_accessed", now]
        pipeline.hset(keys.semantic_memory(hit.accesses.id), items=fields)
    await pipeline.execute()


def operations(setup: Setup, accesses: AccessCounting) -> SemanticOperations:
    """The service's own operation, with this way of counting."""
    return SemanticOperations(
        store=setup.concepts,
        recall=setup.recall,
        accesses=accesses,
        stored_as=VectorFormat(DIMENSION),
        now=time.time,
        audit=Audit(),
    )


async def ask(
    search: Search,
    rng: np.random.Generator,
    measured: Measured,
    until: float,
    after: Callable[[Answer], Awaitable[None]] | None,
) -> None:
    """One asker: the next question when the answer is there."""
    while time.perf_counter() < until:
        vector = rng.normal(size=DIMENSION).astype("<f4").tobytes()
        request = SemanticSearch(concept_vector=to_base64(vector), top_k=TOP_K)  # type: ignore[arg-type]
        began = time.perf_counter()
        answer = await search(request)
        measured.latencies_ms.append((time.perf_counter() - began) * 1000)
        assert len(answer.hits) == TOP_K
        measured.searches += 1
        if after is not None:
            await after(answer)


async def run_round(setup: Setup, name: str, measured: Measured, seed: int) -> None:
    """One way, for ROUND_S seconds and what its counting still does then."""

    async def touching(answer: Answer) -> None:
        await touch(setup.redis, answer)

    way = folded(setup) if name == "folded" else none(setup)
    before = measured.searches
    began = time.perf_counter()
    async with way as search:
        until = began + ROUND_S
        rngs = np.random.default_rng(seed).spawn(ASKERS)
        after = touching if name == "touched" else None
        await asyncio.gather(*(ask(search, rng, measured, until, after) for rng in rngs))
        asking_s = time.perf_counter() - began
    measured.asking_s += asking_s
    measured.total_s += time.perf_counter() - began
    measured.rates.append((measured.searches - before) / asking_s)


async def total_accesses(redis: Redis) -> int:
    """The sum of all folded counters."""
    pipeline = redis.pipeline(transaction=False)
    for i in range(CONCEPTS):
        pipeline.hget(keys.semantic_memory(str(i)), "access_count")
    unfolded = await redis.hvals(keys.ACCESS_UNFOLDED)
    return sum(int(count) for count in (*await pipeline.execute(), *unfolded))


async def fill(setup: Setup) -> None:
    """Random concepts."""
    rng = np.random.default_rng(SEED)
    memories = [
        SemanticMemory(
            id=str(i),
            memory_type="PATTERN",
            regime_name="bull",
            concept_vector=rng.normal(size=DIMENSION).astype("<f4").tobytes(),
            sharpe_ratio=1.0,
            win_rate=0.5,
            created_at=time.time(),
            metadata={},
            pinned=False,
            digest=b"",
        )
        for i in range(CONCEPTS)
    ]
    for start in range(0, CONCEPTS, 500):
        await setup.concepts.store_many(memories[start : start + 500])


def set_up(url: str, settings: Settings) -> Setup:
    """The service's storage on one node."""
    redis = create_redis(url, client_name="counter_folding", settings=settings)
    shards = lone_shard(redis)
    indexes = Indexes(
        shards, layout=settings.layout, dimension=DIMENSION, wait_s=settings.index_wait_s
    )
    search = VectorSearch(shards.nodes[0], indexes=indexes, timeout_ms=settings.search_timeout_ms)
    readable = ReadableNodes(shards, lambda _: nullcontext)
    store = MemoryStore(shards, readable, guard_of=lambda _: nullcontext, moved=lambda _: None)
    query = MemoryQuery(readable, indexes=indexes, timeout_ms=settings.search_timeout_ms)
    concepts = SemanticStore(store, indexes, query, kept=Kept(changes=1, seconds=86_400))
    return Setup(redis, shards, settings, readable, store, concepts, OneByOne(search))


async def measure(setup: Setup) -> dict[str, Measured]:
    """All ways, in turns; checks that folding counted every hit."""
    await fill(setup)
    results = {name: Measured() for name in ("none", "folded", "touched")}
    for number in range(ROUNDS):
        for name, measured in results.items():
            before, searches = await total_accesses(setup.redis), measured.searches
            await run_round(setup, name, measured, seed=number)
            if name == "folded":
                counted = await total_accesses(setup.redis) - before
                asked = (measured.searches - searches) * TOP_K
                if counted != asked:
                    raise SystemExit(f"counted {counted} hits of {asked}")
    return results


async def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), dimension=DIMENSION)
        async with embedded_redis(settings) as topology:
            setup = set_up(topology.master.url, settings)
            try:
                results = await measure(setup)
            finally:
                await setup.redis.aclose()
    print(f"{CONCEPTS:,} concepts of {DIMENSION} numbers, top {TOP_K}, {ASKERS} askers")
    print(f"{'':8} {'searches/s':>10} {'(least to most)':18} {'p50 ms':>8} {'p99 ms':>8} "
          f"{'s at end':>10}")  # fmt: skip
    for name, measured in results.items():
        print(measured.line(name))
    asking = {name: m.searches / m.asking_s for name, m in results.items()}
    total = {name: m.searches / m.total_s for name, m in results.items()}
    gain, with_end = (way["folded"] / way["touched"] for way in (asking, total))
    print(f"folded / touched: {gain:.1f} times the searches a second")
    print(f"                  {with_end:.1f} times with the fold at the end")
    print(f"folded / none: {asking['folded'] / asking['none']:.0%}; every hit was counted")


if __name__ == "__main__":
    asyncio.run(main())
