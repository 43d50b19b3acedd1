"""What more cores, replicas and shards would give: an estimate from measured costs.

python -m bench.studies.scaling

Takes the processor time of the service and of Redis for a search from
docs/benchmarks/hotpath-results.json (`make bench-hotpath`), measures what several groups of Redis
add to the service's, and what a memory and an agent's index take of Redis's memory, and writes
docs/benchmarks/scaling.md. The model: each worker process
and each Redis is served by a core of its own; the workers of a port are one M/M/c queue, each Redis
one M/M/1 queue (Poisson arrivals, exponential service times; the measured ones vary less, so real
waits are shorter).
"""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import orjson
import redis

from bench.compare.dataset import dataset_of
from bench.data import workload
from bench.load.closed_loop import post
from bench.machine import describe_machine, now_line
from bench.paths import BENCHMARKS
from bench.processor_time import exact_processor_time, wait_until_idle
from bench.service import running_service
from bench.studies._batches import (
    DIMENSION,
    SEED,
    as_base64,
    connect,
    memory,
    random_vectors,
    store_batch,
)
from bench.studies._hotpath_service import Subject, filled_service

FIGURES = BENCHMARKS / "hotpath-results.json"
REPORT = BENCHMARKS / "scaling.md"
UTILISATION = 0.7
"""Share of its core that the busier side may use: beyond, waits grow fast."""
CORES = (2, 4, 8, 16)
AGENTS = (1_000, 10_000, 100_000, 1_000_000)
ASKS_EVERY_S = 60
MEMORIES = 1000
SHARD_BYTES = 64 * 2**30
SAMPLE = 1000
CLIENTS = 50
GROUPS = 3
ROUNDS = 9
QUESTIONS = 20_000

_TEXT = """# What more machines would give: an estimate

{conditions}

Not measured on such machines: computed by `make bench-scaling` from what was measured on this one.
A search takes {service_us:.0f} us of a worker's core and {redis_us:.0f} us of Redis's (one
worker, 50 clients, random vectors, 1,000 memories an agent:
[hotpath-results.md](hotpath-results.md)). Workers of a port are an M/M/c queue, each Redis an
M/M/1 queue, each process on a core of its own, the busier side at {utilisation:.0%}.
Latency is the mean of both waits and both services; network and load balancer come on top.
Several Redis are groups, of which each has some of the agents. With {groups} of them a search takes
{groups_factor:.2f} times the worker's time with one ({clients} clients, both asked in turn in
{rounds} rounds on this machine, load average {load:.1f} at the end): each group's questions travel
in batches of their own, which are smaller. The tables use that wherever there is more than one
Redis.

**Held against what was measured**: on this machine, where generator, worker and Redis share {here}
cores, one worker answered {measured:,.0f} searches/s at saturation; it was busy for
{worker_busy:.0%} of a core then, and Redis for {redis_busy:.0%}. The model takes them for
independent and says {model:,.0f} at {utilisation:.0%}, {full:,.0f} with a worker that is never
idle. No number of workers was measured on cores of their own.

## Cores

With k Redis (groups, or a master with replicas whose readers may lag) and the other cores for
workers, the best k for each number of cores.

| cores | Redis | workers | searches/s | mean ms | busier side |
| ---: | ---: | ---: | ---: | ---: | --- |
{cores}
## Agents

Each agent asks every {every} s and remembers {memories:,} moments. An agent's index takes
{index_kb:.0f} KB by itself and a memory {memory_kb:.1f} KB with its vector, record and index
(measured: Redis's memory after {sample:,} agents with one memory, and after one agent with
{sample:,}). A group holds {shard_gb} GB.
(Engine 2.10.5. Redis 8.2.13 with search-vss-max-resize as the service sets it: 119 KB
for an agent with one memory; without it 1,338 KB.)

| agents | searches/s | memory GB | groups for memory | Redis for searches | workers | cores |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{agents}
What it leaves out: writes ([batches](README.md#batches-against-a-bare-pipeline)), partitions beyond
{memories:,} (a FLAT search grows with them), the time that Redis takes to load a shard of this
size, and cores that share caches and memory bandwidth.
"""


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds of a core for a search; bytes of Redis's memory."""

    service_us: float
    redis_us: float
    groups_factor: float
    index_bytes: float
    memory_bytes: float

    def service_us_with(self, nodes: int) -> float:
        """Return the microseconds of a worker's core for a search with this many Redis."""
        return self.service_us * (self.groups_factor if nodes > 1 else 1.0)


def erlang_c(servers: int, load: float) -> float:
    """Return the probability of having to wait in an M/M/c queue; `load` is in servers, < c."""
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def mean_ms(rate: float, workers: int, nodes: int, costs: Costs) -> float:
    """Return the mean time in both queues at this rate of searches a second."""
    return (
        _time_us(rate, workers, costs.service_us_with(nodes)) / 1e3
        + _time_us(rate / nodes, 1, costs.redis_us) / 1e3
    )


def _time_us(rate: float, servers: int, service_us: float) -> float:
    load = rate * service_us / 1e6
    return service_us + erlang_c(servers, load) * service_us / (servers - load)


def best_split(cores: int, costs: Costs) -> tuple[int, int, float]:
    """Return how many Redis and workers answer the most searches a second, and how many."""
    splits = [
        (nodes, cores - nodes, capacity(cores - nodes, nodes, costs)) for nodes in range(1, cores)
    ]
    return max(splits, key=lambda split: split[2])


def capacity(workers: int, nodes: int, costs: Costs) -> float:
    """Return searches a second while the busier side is used as much as it may be."""
    return UTILISATION * min(workers / costs.service_us_with(nodes), nodes / costs.redis_us) * 1e6


def main() -> int:
    """Compute, print, write the report, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.scaling")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="of make bench-hotpath")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report goes")
    options = parser.parse_args()
    service_us, redis_us, measured = _searches(options.figures)
    groups_factor = _groups_factor()
    load = os.getloadavg()[0]
    index_bytes, memory_bytes = _memory()
    costs = Costs(service_us, redis_us, groups_factor, index_bytes, memory_bytes)
    text = _TEXT.format(
        conditions=f"{now_line()}. {describe_machine().sentence}.",
        service_us=service_us,
        redis_us=redis_us,
        utilisation=UTILISATION,
        groups=GROUPS,
        groups_factor=groups_factor,
        clients=CLIENTS,
        rounds=ROUNDS,
        load=load,
        here=os.cpu_count(),
        measured=measured,
        worker_busy=measured * service_us / 1e6,
        redis_busy=measured * redis_us / 1e6,
        model=capacity(1, 1, costs),
        full=1e6 / service_us,
        cores="".join(_cores_line(cores, costs) for cores in CORES),
        agents="".join(_agents_line(agents, costs) for agents in AGENTS),
        every=ASKS_EVERY_S,
        memories=MEMORIES,
        index_kb=index_bytes / 1024,
        memory_kb=memory_bytes / 1024,
        sample=SAMPLE,
        shard_gb=SHARD_BYTES // 2**30,
    )
    print(text)
    options.report.write_text(text)
    return 0


def _searches(path: Path) -> tuple[float, float, float]:
    """Return microseconds of the service and of Redis for a search, and searches a second."""
    rows = [
        row["figures"]
        for row in orjson.loads(path.read_bytes())["rows"]
        if (row["kind"], row["workers"], row["way"], row["clients"]) == ("random", 1, "http", 50)
    ]
    service_us, redis_us, rate = (
        median(row[name] for row in rows) for name in ("service_us", "redis_us", "rate")
    )
    return service_us, redis_us, rate


def _groups_factor() -> float:
    """Return the ratio of a search's processor time with several groups to that with one Redis."""
    work = workload(
        "random",
        name="scaling",
        agents=CLIENTS,
        memories_each=MEMORIES,
        questions=QUESTIONS,
        dimension=DIMENSION,
        seed=SEED,
    )
    order = np.random.default_rng(SEED).permutation(work.total)
    data = dataset_of(work, order=order, askers=np.arange(QUESTIONS) % CLIENTS)
    all_from_redis = {"MEMORY_RESIDENT_MAX_BYTES": "0"}
    several = all_from_redis | {
        "MEMORY_EMBEDDED_TOPOLOGY": "groups",
        "MEMORY_EMBEDDED_GROUPS": str(GROUPS),
    }
    with ExitStack() as stack:
        one, groups = (
            filled_service(
                "random", work, data, order=order, workers=1, top_k=10, stack=stack, settings=each
            )
            for each in (all_from_redis, several)
        )
        for subject in (one, groups):
            wait_until_idle(subject.service.processes())
        ratios = []
        for number in range(ROUNDS):
            pair = (one, groups) if number % 2 else (groups, one)
            took_us = {subject is groups: _search_us(subject) for subject in pair}
            ratios.append(took_us[True] / took_us[False])
    return median(ratios)


def _search_us(subject: Subject) -> float:
    subject.forget()
    service_s = exact_processor_time([subject.service.process_id])
    port = subject.service.port
    return subject.load.run(port, CLIENTS, seconds=1, service_s=service_s).service_us


def _memory() -> tuple[float, float]:
    """Return the bytes of an agent's index by itself, and of a memory."""
    vectors = random_vectors(SEED, SAMPLE)
    with running_service({}) as service, redis.Redis.from_url(service.redis_url) as client:

        def used_bytes() -> int:
            return int(client.info("memory")["used_memory"])

        empty = used_bytes()
        _store(service.port, [memory("one", i, as_base64(v)) for i, v in enumerate(vectors)])
        one_agent = used_bytes() - empty
        many = [memory(f"agent_{i}", i, as_base64(v)) for i, v in enumerate(vectors)]
        _store(service.port, many)
        many_agents = used_bytes() - empty - one_agent
    # (SAMPLE memories + 1 index) and (SAMPLE memories + SAMPLE indexes)
    index = (many_agents - one_agent) / (SAMPLE - 1)
    return index, (one_agent - index) / SAMPLE


def _store(port: int, memories: Sequence[dict[str, object]]) -> None:
    body = orjson.dumps({"memories": memories})
    with connect(port) as connection:
        request = post("/v1/episodic/batch", body, kind="batch")
        store_batch(connection, request, created=len(memories))


def _cores_line(cores: int, costs: Costs) -> str:
    nodes, workers, rate = best_split(cores, costs)
    workers_us, redis_us = costs.service_us_with(nodes) / workers, costs.redis_us / nodes
    busier = "workers" if workers_us > redis_us else "Redis"
    latency = mean_ms(rate, workers, nodes, costs)
    return f"| {cores} | {nodes} | {workers} | {rate:,.0f} | {latency:.2f} | {busier} |\n"


def _agents_line(agents: int, costs: Costs) -> str:
    rate = agents / ASKS_EVERY_S
    needed_bytes = agents * (costs.index_bytes + MEMORIES * costs.memory_bytes)
    shards = math.ceil(needed_bytes / SHARD_BYTES)
    nodes = math.ceil(rate * costs.redis_us / 1e6 / UTILISATION)
    all_nodes = max(shards, nodes)
    workers = math.ceil(rate * costs.service_us_with(all_nodes) / 1e6 / UTILISATION)
    return (
        f"| {agents:,} | {rate:,.0f} | {needed_bytes / 2**30:,.0f} | {shards} | {nodes} | "
        f"{workers} | {all_nodes + workers} |\n"
    )


if __name__ == "__main__":
    sys.exit(main())
