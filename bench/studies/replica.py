"""A replica in the agent's process beside the other ways to ask the same memories, in one run.

python -m bench.studies.replica --peers FOLDER

For each size and kind of vectors one agent's memories are stored, and each question goes to every
way in turn, so that none of them finds its data in the processor's caches; then the replica is
asked alone. At the end 1 to 50 agents ask their own replicas at once, as threads and as processes.
`--peers` is a folder of packages with faiss and Qdrant Edge; without it they are not measured.
Writes docs/benchmarks/replica.md, and the figures beside it; a run of some sizes leaves the others'
figures there. Exit status 0 whatever is met: it reports, it does not judge.
"""

import argparse
import gc
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import psutil
import redis
from numpy.typing import NDArray

from bench.data import DATA_KINDS, DataKind, Moments, workload
from bench.machine import describe_machine, load_line, now_line
from bench.paths import BENCHMARKS
from bench.service import running_service
from bench.studies import _replica_ways as ways
from bench.studies._replica_report import ALONE, Crowd, Filled, Results, Row, read_results, report
from coinswarm_memory import Memory
from coinswarm_memory.replica.rows import Changes, Rows
from coinswarm_memory.replica.scan import prepare
from coinswarm_memory.replica.state import ReplicaState, empty_table

DIMENSION = 256
SIZES = (1_000, 10_000, 100_000)
QUESTIONS = {1_000: 300, 10_000: 200, 100_000: 100}
QDRANT_UP_TO = 10_000
"""Its graph of 100,000 takes minutes to build."""
WARM_UP = 10
SEED = 20260101
AGENTS_AT_ONCE = (1, 2, 10, 50)
CROWD_MEMORIES = 1_000
CROWD_S = 2.0
SETTINGS = {"MEMORY_HNSW_THRESHOLD": "0", "MEMORY_CACHE_ENABLED": "false"}
"""Exact at any size, and each question asked of Redis."""


def main() -> int:
    """Measure, print, write the report, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.replica")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--data", nargs="+", choices=DATA_KINDS, default=list(DATA_KINDS))
    parser.add_argument("--peers", type=Path, help="packages with faiss and Qdrant Edge")
    parser.add_argument("--no-crowds", action="store_true", help="one caller only")
    parser.add_argument("--report", type=Path, default=BENCHMARKS / "replica.md")
    options = parser.parse_args()
    load_before, results = load_line(), Results()
    if options.peers is not None:
        sys.path.append(str(options.peers))
    for size in options.sizes:
        for kind in options.data:
            print(f"{size:,} {kind} memories ...", file=sys.stderr)
            with ExitStack() as stack:
                _measure(results, kind, size, stack)
    if not options.no_crowds:
        _crowds(results)
    machine = f"{now_line()}; {describe_machine().sentence}; load average before {load_before}"
    results.circumstances = f"{machine}, after {load_line()}"
    kept = options.report.with_suffix(".json")
    if kept.exists():
        results = read_results(kept).merged(results)
    kept.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    options.report.write_text(report(results))
    print(report(results))
    return 0


def _measure(results: Results, kind: DataKind, size: int, stack: ExitStack) -> None:
    moments, states = _data(kind, size)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    service = stack.enter_context(running_service(SETTINGS))
    memory = stack.enter_context(Memory(service.url, timeout_s=120, dimension=DIMENSION))
    raw = stack.enter_context(redis.Redis.from_url(service.redis_url, protocol=2))
    me, regime = memory.agent("agent_1"), ways.most_common(moments.regimes)
    _store(memory, moments)
    prepare()  # what is loaded once is no memory's
    used, started = _own_bytes(), time.perf_counter()
    local = stack.enter_context(me.replica(max_lag_s=60.0))
    took_s = time.perf_counter() - started
    if kind == "random":
        results.filled.append(Filled(size, (_own_bytes() - used) / size, size / took_s))
    asked: dict[str, ways.Ask] = {
        "replica": ways.of_client(local, regime),
        "redis-py": ways.of_redis(raw, me.id, regime),
        "service over HTTP": ways.of_client(me, regime),
    }
    try:
        if size <= QDRANT_UP_TO:
            shard = ways.of_qdrant(moments, regime, folder / "shard")
            # Apart, for the second of two in a row finds its data in the caches.
            over_http = asked.pop("service over HTTP")
            asked |= {"Qdrant Edge": shard[0], "service over HTTP": over_http}
            asked["Qdrant Edge, exact"] = shard[1]
        asked = {"faiss flat": ways.of_faiss(moments, regime), **asked}
    except ImportError as error:
        results.missing = f"Not measured: {error}."
    gc.collect()
    gc.freeze()
    for is_filtered in (False, True):
        allowed = (moments.regimes == regime) | (not is_filtered)
        took, found = _interleaved(asked, states, is_filtered)
        for name, latencies in took.items():
            share = ways.recall_of(found[name], moments, states, allowed)
            results.rows.append(_row(size, kind, is_filtered, name, latencies, share))
        alone = [_timed(asked["replica"], state, is_filtered)[0] for state in states][WARM_UP:]
        results.rows.append(_row(size, kind, is_filtered, ALONE, alone, 1.0))


def _row(  # noqa: PLR0917 - the columns of a table
    size: int, kind: str, is_filtered: bool, way: str, latencies: list[float], share: float
) -> Row:
    p50, p99 = np.percentile(latencies, [50, 99])
    load = load_line().partition(",")[0]
    return Row(size, kind, is_filtered, way, float(p50), float(p99), share, load)


def _data(kind: DataKind, size: int) -> tuple[Moments, NDArray[np.float32]]:
    found = workload(
        kind,
        name="replica",
        agents=1,
        memories_each=size,
        questions=QUESTIONS.get(size, 100) + WARM_UP,
        dimension=DIMENSION,
        seed=SEED,
    )
    return found.stored[0], np.ascontiguousarray(found.asked.vectors, "f4")


def _store(memory: Memory, moments: Moments) -> None:
    report_ = memory.agent("agent_1").remember_many(
        moments.vectors,
        id=[str(row) for row in range(len(moments))],
        product=moments.products.tolist(),
        regime=moments.regimes.tolist(),
        action=moments.actions.tolist(),
        reward=moments.rewards.tolist(),
        timestamp=moments.timestamps.tolist(),
    )
    if report_.created != len(moments):
        raise RuntimeError(f"stored {report_.created} of {len(moments)} memories")


def _interleaved(
    asked: dict[str, ways.Ask], states: NDArray[np.float32], is_filtered: bool
) -> tuple[dict[str, list[float]], dict[str, dict[int, list[int]]]]:
    took: dict[str, list[float]] = {name: [] for name in asked}
    found: dict[str, dict[int, list[int]]] = {name: {} for name in asked}
    for number, state in enumerate(states):
        for name, ask in asked.items():
            latency, rows = _timed(ask, state, is_filtered)
            if number >= WARM_UP:
                took[name].append(latency)
                found[name][number] = rows
    return took, found


def _timed(ask: ways.Ask, state: NDArray[np.float32], is_filtered: bool) -> tuple[float, list[int]]:
    started = time.perf_counter_ns()
    rows = ask(state, is_filtered)
    return (time.perf_counter_ns() - started) / 1e3, rows


def _own_bytes() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def _crowds(results: Results) -> None:
    """Measure agents with a replica of their own, as threads of one process and as processes."""
    moments, states = _data("random", CROWD_MEMORIES)
    for agents in AGENTS_AT_ONCE:
        for way, run in (("threads", _in_threads), ("processes", _in_processes)):
            print(f"{agents} agents at once, as {way} ...", file=sys.stderr)
            latencies = run(agents, moments, states)
            p50, p99 = np.percentile(latencies, [50, 99])
            rate = len(latencies) / CROWD_S
            results.crowds.append(Crowd(agents, way, float(p50), float(p99), rate))


def _filled(moments: Moments) -> ReplicaState:
    """Return a replica as it is after its snapshot, without a service behind it."""
    table = empty_table(DIMENSION, "float32")
    records = [
        b'{"id":"%d","agent_id":"a","product_id":"p","regime":"bull","timestamp":1.0}' % row
        for row in range(len(moments))
    ]
    table.apply([Rows(records, np.ascontiguousarray(moments.vectors, "f4"))])
    state = ReplicaState(max_lag_s=1e9)
    state.begin(table, "position")
    state.apply("position", Changes("position", 0.0, is_all=True), time.monotonic())
    return state


def _ask_on(replica: ReplicaState, states: NDArray[np.float32], until_s: float) -> list[float]:
    latencies: list[float] = []
    while time.monotonic() < until_s:
        state = states[len(latencies) % len(states)]
        started = time.perf_counter_ns()
        replica.answer(state, ways.TOP_K, {})
        latencies.append((time.perf_counter_ns() - started) / 1e3)
    return latencies


def _in_threads(agents: int, moments: Moments, states: NDArray[np.float32]) -> list[float]:
    replicas = [_filled(moments) for _ in range(agents)]
    found: list[float] = []
    until_s = time.monotonic() + CROWD_S

    def ask(replica: ReplicaState) -> None:
        found.extend(_ask_on(replica, states, until_s))

    threads = [threading.Thread(target=ask, args=(replica,)) for replica in replicas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _in_processes(agents: int, moments: Moments, states: NDArray[np.float32]) -> list[float]:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(agents)
    ends = [context.Pipe(duplex=False) for _ in range(agents)]
    processes = [
        context.Process(target=_one_process, args=(moments, states, barrier.wait, end.send))
        for _, end in ends
    ]
    for process in processes:
        process.start()
    found = [latency for end, _ in ends for latency in end.recv()]
    for process in processes:
        process.join()
    return found


def _one_process(
    moments: Moments,
    states: NDArray[np.float32],
    ready: Callable[[], object],
    tell: Callable[[list[float]], None],
) -> None:
    replica = _filled(moments)
    ready()
    tell(_ask_on(replica, states, time.monotonic() + CROWD_S))


if __name__ == "__main__":
    sys.exit(main())
