"""Agents that move between two groups while the swarm writes: what that costs writers.

python -m bench.studies.agent_moves

Two embedded groups of one master each, AGENTS agents of MEMORIES memories of 256 numbers. One agent
after the other moves to the other group. Meanwhile RATE writes a second arrive (an open loop: each
counts from when it is due), half of them for the agent that moves. A minute of the same writes
without moves is measured first, on the same machine. Prints a table; docs/benchmarks/moves.md has
one.

Exit status 1 when a write was refused or took longer than LONGEST_MS beyond the slowest one without
moves, when a memory is missing or twice, or when one of 100 answers is not what it was before.
"""

import argparse
import asyncio
import hashlib
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import orjson
import redis

from app import keys
from bench.http_client import ConnectionPool, post_request
from bench.machine import describe_machine, load_line, now_line
from bench.open_loop import run_precisely
from bench.service import RunningService, running_service
from bench.studies._batches import (
    BATCH,
    SEED,
    agent_name,
    as_base64,
    batch_request,
    connect,
    memory,
    random_vectors,
    store_batch,
)

GROUPS = ("group-1", "group-2")
SETTINGS = {
    "MEMORY_EMBEDDED_TOPOLOGY": "groups",
    "MEMORY_EMBEDDED_GROUPS": "2",
    "MEMORY_HNSW_THRESHOLD": "0",
    "MEMORY_EMBEDDED_START_TIMEOUT_S": "60",
}
ANSWERS = 100
LOOK_S = 0.05
LONGEST_MS = 200.0
NEW = "NEW"
"""The product of what is written meanwhile; the answers that are compared do not ask for it."""
FILLERS = 2


@dataclass
class Written:
    """The writes of one part of the run: how long each took, and what came of it."""

    moving_ms: list[float] = field(default_factory=list)
    others_ms: list[float] = field(default_factory=list)
    confirmed: Counter[str] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)

    @property
    def all_ms(self) -> list[float]:
        """Return the times of all writes."""
        return self.moving_ms + self.others_ms


class Writers:
    """Writes at a rate, whatever the answers do. `moving` is the agent that moves now."""

    def __init__(self, url: str, agents: Sequence[str], rate: float) -> None:
        self._url = url
        self._agents = agents
        self._rate = rate
        self._chance = random.Random(SEED)
        self._vectors = random_vectors(SEED - 1, 1000)
        self._number = 0
        self.moving: str | None = None
        self.written = Written()

    async def write(self, pool: ConnectionPool, stop: asyncio.Event) -> None:
        """Write until `stop` is set, and wait for the last answers."""
        began_s = time.perf_counter()
        first = self._number
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                due_s = began_s + (self._number - first) / self._rate
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                group.create_task(self._write(pool, self._number, due_s))
                self._number += 1

    async def _write(self, pool: ConnectionPool, number: int, due_s: float) -> None:
        moving = self.moving
        agent = self._chance.choice(self._agents)
        if moving is not None and self._chance.random() < 0.5:
            agent = moving
        body = memory(agent, number, as_base64(self._vectors[number % 1000]))
        body |= {"product_id": NEW, "id": f"new-{number}"}
        request = post_request(self._url, "/v1/episodic", orjson.dumps(body))
        reply = await pool.send(request)
        took_ms = (time.perf_counter() - due_s) * 1000
        if reply.status != 201:
            self.written.refused[reply.status] += 1
            return
        self.written.confirmed[agent] += 1
        (self.written.moving_ms if agent == moving else self.written.others_ms).append(took_ms)


async def answers(pool: ConnectionPool, url: str, agents: Sequence[str]) -> list[str]:
    """Return a digest of each of 100 answers about what was there from the beginning."""
    digests = []
    for number, vector in enumerate(random_vectors(SEED + 7, ANSWERS)):
        body = {
            "agent_id": agents[number % len(agents)],
            "state_vector": as_base64(vector),
            "top_k": 10,
            "product_id": [f"COIN{one}-USD" for one in range(20)],
            "consistency": "strong",
        }
        reply = await pool.send(post_request(url, "/v1/episodic/search", orjson.dumps(body)))
        found = orjson.loads(reply.body)
        if len(found["memories"]) != 10 or not found["exact"]:
            raise RuntimeError(f"an answer is not whole: {reply.body[:300]!r}")
        digests.append(hashlib.sha256(orjson.dumps(found["memories"])).hexdigest())
    return digests


async def move(
    pool: ConnectionPool, url: str, agent: str, group: str, *, until: Sequence[str]
) -> None:
    """Ask for an agent's move until it has one of these states."""
    request = post_request(url, f"/v1/agents/{agent}/move", orjson.dumps({"group": group}))
    while True:
        said = orjson.loads((await pool.send(request)).body)
        if said.get("status") == "failed":
            raise RuntimeError(f"a move failed: {said}")
        if said.get("status") in until:
            return
        await asyncio.sleep(LOOK_S)


def fill(service: RunningService, agents: Sequence[str], memories: int) -> None:
    """Store every agent's memories."""

    def store(some: Sequence[int]) -> None:
        with connect(service.port) as connection:
            for number in some:
                for start in range(0, memories, BATCH):
                    count = min(BATCH, memories - start)
                    seed = SEED + number * memories + start
                    request = batch_request(agents[number], seed=seed, ids=f"m{start}", count=count)
                    store_batch(connection, request, created=count)

    with ThreadPoolExecutor(FILLERS) as threads:
        list(threads.map(store, [range(n, len(agents), FILLERS) for n in range(FILLERS)]))


def client_of(service: RunningService, group: str) -> redis.Redis:
    """Return a client of a group's master."""
    (path,) = (service.data_folder / group).rglob("redis.sock")
    return redis.Redis.from_url(f"unix://{path}", protocol=2)


def places(service: RunningService) -> dict[str, str]:
    """Return each agent's group."""
    with client_of(service, GROUPS[0]) as home:
        return {a.decode(): g.decode() for a, g in home.hgetall(keys.PLACEMENTS).items()}


def count_by_agent(service: RunningService, group: str) -> Counter[str]:
    """Return how many memories of each agent a group's Redis holds."""
    with client_of(service, group) as node:
        found = node.scan_iter(f"{keys.EPISODIC_PREFIX}*", count=10_000)
        return Counter(keys.memory_owner(key.decode()) for key in found)


def indexed(service: RunningService, agent: str, group: str) -> int:
    """Return how many memories the agent's index in this group holds."""
    with client_of(service, group) as node:
        found = node.execute_command(
            *("FT.SEARCH", keys.episodic_index(agent), "*", "LIMIT", 0, 0, "DIALECT", 2)
        )
        return int(found[0])


def held(service: RunningService) -> tuple[list[float], int]:
    """Return for how long each move held writes back, and how often a move tried it again, as the
    service logged it."""
    log = (service.data_folder.parent / "service.log").read_text()
    return [float(ms) for ms in re.findall(r'"held_ms": ?([0-9.]+)', log)], log.count('"hold_ms"')


@dataclass
class Run:
    """What was measured."""

    without: Written
    during: Written
    seconds: float
    held_ms: list[float]
    again: int
    wrong: list[str]


async def measure(
    service: RunningService, agents: Sequence[str], memories: int, rate: float, before_s: float
) -> Run:
    """Write without moves, then with them, and compare what is there."""
    pool = ConnectionPool(service.url)
    await pool.open(20)
    writers = Writers(service.url, agents, rate)
    before = await answers(pool, service.url, agents)
    stop = asyncio.Event()
    writing = asyncio.create_task(writers.write(pool, stop))
    await asyncio.sleep(before_s)
    stop.set()
    await writing
    without, writers.written = writers.written, Written()
    began = places(service)
    targets = {agent: GROUPS[1 - GROUPS.index(began[agent])] for agent in agents}
    stop.clear()
    writing = asyncio.create_task(writers.write(pool, stop))
    began_s = time.perf_counter()
    for number, agent in enumerate(agents, 1):
        writers.moving = agent
        await move(pool, service.url, agent, targets[agent], until=("cleaning", "done"))
        if number % 10 == 0:
            print(f"{number} moved in {time.perf_counter() - began_s:.0f} s", file=sys.stderr)
    seconds = time.perf_counter() - began_s
    stop.set()
    await writing
    for agent in agents:
        await move(pool, service.url, agent, targets[agent], until=("done",))
    after = await answers(pool, service.url, agents)
    wrong = [f"answer {n} differs" for n in range(ANSWERS) if before[n] != after[n]]
    counts = {group: count_by_agent(service, group) for group in GROUPS}
    for agent in agents:
        expected = memories + without.confirmed[agent] + writers.written.confirmed[agent]
        here, there = counts[targets[agent]][agent], counts[began[agent]][agent]
        in_index = indexed(service, agent, targets[agent])
        if (here, there, in_index) != (expected, 0, expected):
            wrong.append(f"{agent}: {here}, {in_index} indexed, {there} left, of {expected}")
    pool.close()
    held_ms, again = held(service)
    return Run(without, writers.written, seconds, held_ms, again, wrong)


def row(name: str, times_ms: Sequence[float]) -> str:
    """Return a row of the table."""
    p50, p99, p999 = np.percentile(times_ms, (50, 99, 99.9))
    late = sum(took > LONGEST_MS for took in times_ms)
    return (
        f"| {name} | {len(times_ms):,} | {p50:.1f} | {p99:.1f} | {p999:.1f} | "
        f"{max(times_ms):.1f} | {late} |"
    )


def main() -> int:
    """Measure and print; 1 when a promise does not hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.agent_moves")
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--memories", type=int, default=10_000, help="of each agent (10000)")
    parser.add_argument("--rate", type=float, default=200.0, help="writes a second (200)")
    parser.add_argument("--before", type=float, default=60.0, help="seconds without moves (60)")
    options = parser.parse_args()
    print(f"{now_line()}. {describe_machine().sentence}. Load average before {load_line()}.\n")
    agents = [agent_name(number) for number in range(options.agents)]
    with running_service(SETTINGS) as service:
        fill(service, agents, options.memories)
        print("stored", file=sys.stderr)
        run = run_precisely(
            lambda: measure(service, agents, options.memories, options.rate, options.before)
        )
    print("| writes | number | P50 ms | P99 ms | P99.9 ms | longest ms | above 200 ms |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    print(row("without moves", run.without.all_ms))
    print(row("while agents move: to those at rest", run.during.others_ms))
    print(row("while agents move: to the one that moves", run.during.moving_ms))
    each_s = run.seconds / options.agents
    refused = sum(run.during.refused.values())
    print(
        f"\n{options.agents} agents of {options.memories:,} memories moved in {run.seconds:.0f} s, "
        f"{each_s:.1f} s each. Refused: {refused}. Answers that differ, and agents with memories "
        f"missing, left behind or twice: {len(run.wrong)}. Writes to an agent were held back for "
        f"{np.median(run.held_ms):.0f} ms (median), {max(run.held_ms):.0f} ms (longest); "
        f"{run.again} times the last step was tried again."
    )
    print(f"\nLoad average after {load_line()}.")
    print(*run.wrong[:20], sep="\n", file=sys.stderr)
    allowed_ms = max(LONGEST_MS, max(run.without.all_ms) + LONGEST_MS)
    return int(bool(run.wrong) or refused > 0 or max(run.during.all_ms) > allowed_ms)


if __name__ == "__main__":
    sys.exit(main())
