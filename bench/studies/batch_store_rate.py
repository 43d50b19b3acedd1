"""How fast batches are stored, against a bare redis-py pipeline on the same Redis.

python -m bench.studies.batch_store_rate

Each round stores the same memories in every way, one way after the other: through
`POST /v1/episodic/batch`, with vectors as base64 and as number arrays, and as plain HSETs of the
very hashes that the service wrote (read back from Redis: digest, record and all), in one redis-py
pipeline of 1,000 under new keys of the same indexed agents. What was stored is deleted after each
measurement. At the end: how long single searches take while batches are stored.

Exit status 1 when base64 batches are stored at less than half the bare rate.
"""

import argparse
import itertools
import multiprocessing
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from typing import TypeVar

import orjson
import redis

from bench.load import closed_loop
from bench.load.closed_loop import HttpRequest
from bench.machine import describe_machine, load_line, now_line
from bench.service import RunningService, running_service
from bench.studies._batches import (
    BATCH,
    DIMENSION,
    SEED,
    agent_name,
    as_base64,
    batch_request,
    connect,
    random_vectors,
    store_batch,
)

CLIENTS = [1, 4]
SETTINGS = {"MEMORY_HNSW_THRESHOLD": "0"}
"""Every way meets the same FLAT indexes, however many memories they hold."""

NEEDED_RATIO = 0.5
BARE = "bare redis-py pipeline"
BASE64 = "service, base64"
ARRAYS = "service, number arrays"
SEARCHERS = 4
SEARCH_PAUSE_S = 0.002
SEARCHED_AGENT = "searched"
LOADED_AGENT = "loaded"

Hashes = list[dict[bytes, bytes]]
WorkT = TypeVar("WorkT", Sequence[tuple[str, Hashes]], Sequence[HttpRequest])
_serials = itertools.count()


@dataclass(frozen=True, slots=True)
class Bench:
    """The service under test, its Redis, and what is written to it."""

    service: RunningService
    store: redis.Redis
    hashes: dict[str, Hashes]
    clients: list[int]
    batches: int
    used_s: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Measured:
    """Memories per second, and the processor time for each: the writer's and Redis's."""

    rate: float
    processor_us: float


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.batch_store_rate")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, the median counts (5)")
    parser.add_argument("--batches", type=int, default=3, help="batches per client and round (3)")
    parser.add_argument(
        "--clients", type=int, nargs="+", default=CLIENTS, metavar="N", help="an agent each (1 4)"
    )
    parser.add_argument("--base64-only", action="store_true", help="no number arrays, no searches")
    parser.add_argument("--seconds", type=float, default=3.0, help="searches under batches (3)")
    options = parser.parse_args()
    print(f"{now_line()}; {describe_machine().sentence}; load average {load_line()}\n")
    with running_service(SETTINGS) as service, ExitStack() as stack:
        store = redis.Redis.from_url(service.redis_url)
        stack.callback(store.close)
        bench = Bench(
            service,
            store,
            _templates(service, store, max(options.clients)),
            options.clients,
            options.batches,
            service.processor_time(),
        )
        ways = {BARE: _bare, BASE64: _base64} | ({} if options.base64_only else {ARRAYS: _arrays})
        ratios = _print_rates(_rates(bench, ways, options.rounds), options.batches)
        if not options.base64_only:
            _print_searches(bench, options.seconds)
    print(f"\nload average at the end {load_line()}")
    worst = min(ratios)
    verdict = "holds" if worst >= NEEDED_RATIO else "does NOT hold"
    print(f"base64 batches at {worst:.2f} of the bare rate: at least {NEEDED_RATIO} {verdict}")
    return 0 if worst >= NEEDED_RATIO else 1


def _templates(service: RunningService, store: redis.Redis, clients: int) -> dict[str, Hashes]:
    """Return a batch for each client, stored by the service and read back as Redis holds it."""
    templates = {}
    for client in range(clients):
        agent = agent_name(client)
        with connect(service.port) as connection:
            store_batch(connection, batch_request(agent, seed=SEED, ids="template"))
        pipeline = store.pipeline(transaction=False)
        for number in range(BATCH):
            pipeline.hgetall(_key(agent, f"template-{number}"))
        templates[agent] = pipeline.execute()
    return templates


def _key(agent: str, memory_id: str) -> str:
    return f"episodic:{{{agent}}}:{memory_id}"


def _rates(
    bench: Bench, ways: Mapping[str, Callable[[Bench, int], Measured]], rounds: int
) -> dict[tuple[str, int], list[Measured]]:
    """Return memories per second of each way and number of clients, one figure a round."""
    rates: dict[tuple[str, int], list[Measured]] = {}
    for _ in range(rounds):
        for clients in bench.clients:
            for name, measure in ways.items():
                rates.setdefault((name, clients), []).append(measure(bench, clients))
    return rates


def _base64(bench: Bench, clients: int) -> Measured:
    return _through_service(bench, clients, as_array=False)


def _arrays(bench: Bench, clients: int) -> Measured:
    return _through_service(bench, clients, as_array=True)


def _bare(bench: Bench, clients: int) -> Measured:
    """Send pipelines of prepared hashes; each client has a connection of its own."""

    def store(ready: threading.Barrier, batches: Sequence[tuple[str, Hashes]]) -> None:
        with redis.Redis.from_url(bench.service.redis_url) as connection:
            connection.ping()
            ready.wait()
            for prefix, hashes in batches:
                pipeline = connection.pipeline(transaction=False)
                for number, fields in enumerate(hashes):
                    pipeline.hset(f"{prefix}-{number}", mapping=fields)
                pipeline.execute()

    work = []
    for agent in map(agent_name, range(clients)):
        prefixes = [_key(agent, f"bare{next(_serials)}") for _ in range(bench.batches)]
        work.append([(prefix, bench.hashes[agent]) for prefix in prefixes])
    measured = _timed(bench, store, work, counts_own=True)
    _delete(bench, [prefix for batches in work for prefix, _ in batches])
    return measured


def _through_service(bench: Bench, clients: int, *, as_array: bool) -> Measured:
    """Post prepared batches; each client has a connection of its own."""

    def store(ready: threading.Barrier, batches: Sequence[HttpRequest]) -> None:
        with connect(bench.service.port) as connection:
            ready.wait()
            for batch in batches:
                store_batch(connection, batch)

    work, prefixes = [], []
    for agent in map(agent_name, range(clients)):
        names = [f"batch{next(_serials)}" for _ in range(bench.batches)]
        prefixes += [_key(agent, name) for name in names]
        work.append([batch_request(agent, seed=SEED, ids=n, as_array=as_array) for n in names])
    measured = _timed(bench, store, work, counts_own=False)
    _delete(bench, prefixes)
    return measured


def _timed(
    bench: Bench,
    store: Callable[[threading.Barrier, WorkT], None],
    work: Sequence[WorkT],
    *,
    counts_own: bool,
) -> Measured:
    """Time all clients' parts at once. `counts_own`: this process is the writer."""
    ready = threading.Barrier(len(work) + 1)
    with ThreadPoolExecutor(len(work)) as threads:
        running = [threads.submit(store, ready, part) for part in work]
        ready.wait()
        started_s, used_s, own_s = time.perf_counter(), bench.used_s(), time.process_time()
        for client in running:
            client.result()
        elapsed_s = time.perf_counter() - started_s
    processor_s = bench.used_s() - used_s
    if counts_own:
        processor_s += time.process_time() - own_s
    memories = sum(map(len, work)) * BATCH
    return Measured(memories / elapsed_s, processor_s / memories * 1e6)


def _delete(bench: Bench, prefixes: Sequence[str]) -> None:
    """Delete what was stored: every measurement meets indexes of the same size."""
    for prefix in prefixes:
        deleted = bench.store.unlink(*(f"{prefix}-{number}" for number in range(BATCH)))
        if deleted != BATCH:
            raise RuntimeError(f"{prefix}: {deleted} of {BATCH} memories were there")


def _print_rates(rates: dict[tuple[str, int], list[Measured]], batches: int) -> list[float]:
    """Print the table, and return the ratios of base64 batches."""
    print(
        f"Memories of {DIMENSION} numbers stored per second, {batches} batches of {BATCH:,} for "
        "each client's agent: median of rounds"
    )
    print("| clients | way | memories/s | lowest | highest | of the bare rate | processor us |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    needed = []
    for (name, clients), found in sorted(rates.items(), key=lambda item: item[0][1]):
        # Way and reference of one round meet the same machine.
        pairs = zip(found, rates[BARE, clients], strict=True)
        ratio = statistics.median(way.rate / bare.rate for way, bare in pairs)
        if name == BASE64:
            needed.append(ratio)
        figures = [way.rate for way in found]
        print(
            f"| {clients} | {name} | {statistics.median(figures):,.0f} | {min(figures):,.0f} "
            f"| {max(figures):,.0f} | {ratio:.2f} "
            f"| {statistics.median(way.processor_us for way in found):.0f} |"
        )
    print(
        "processor us: processor time for each memory, of its writer (the service, or the bare "
        "client) and of Redis"
    )
    return needed


def _print_searches(bench: Bench, seconds: float) -> None:
    """Print how long searches take beside batches that never end."""
    with connect(bench.service.port) as connection:
        store_batch(connection, batch_request(SEARCHED_AGENT, seed=SEED, ids=None))
    vectors = itertools.cycle(map(as_base64, random_vectors(SEED + 1, 2000)))

    def search() -> HttpRequest:
        body = {"agent_id": SEARCHED_AGENT, "state_vector": next(vectors), "top_k": 10}
        return closed_loop.post("/v1/episodic/search", orjson.dumps(body), kind="search")

    print(f"\nSingle searches of {SEARCHERS} agents, {SEARCH_PAUSE_S * 1000:g} ms between them")
    print("| beside | searches/s | p50 ms | p99 ms | slowest ms | batches/s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    loads = [closed_loop.Load(search, pause_s=SEARCH_PAUSE_S)] * SEARCHERS
    for name, as_array in (("nothing", None), ("base64", False), ("number arrays", True)):
        with ExitStack() as stack:
            stored = None
            if as_array is not None:
                stored = stack.enter_context(_storing(bench.service.port, as_array=as_array))
            found = closed_loop.run(bench.service.port, loads, seconds=seconds, warm_up_s=0.5)
            batches = 0 if stored is None else stored.value / (seconds + 0.5)
        ms = [found.percentile_ms("search", percent) for percent in (50, 99, 100)]
        print(
            f"| {name} | {found.rate:,.0f} | {ms[0]:.2f} | {ms[1]:.2f} | {ms[2]:.2f} "
            f"| {batches:.1f} |"
        )


@contextmanager
def _storing(port: int, *, as_array: bool) -> Iterator["Synchronized[int]"]:
    """Post batch after batch from a process of its own; yield their count."""
    processes = multiprocessing.get_context("spawn")
    stored: Synchronized[int] = processes.Value("i", 0)
    ready, over = processes.Event(), processes.Event()
    client = processes.Process(
        target=_store_until, args=(port, as_array, stored, ready, over), daemon=True
    )
    client.start()
    ready.wait(30)
    stored.value = 0
    try:
        yield stored
    finally:
        over.set()
        client.join(30)


def _store_until(
    port: int, as_array: bool, stored: "Synchronized[int]", ready: Event, over: Event
) -> None:
    batch = batch_request(LOADED_AGENT, seed=SEED, ids=None, as_array=as_array)
    with connect(port) as connection:
        while not over.is_set():
            store_batch(connection, batch)
            stored.value += 1
            ready.set()


if __name__ == "__main__":
    sys.exit(main())
