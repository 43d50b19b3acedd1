"""What the change feed costs where memories are stored: the store script with and without it.

python -m bench.studies.feed_cost

Both scripts store the same batches of 1,000 memories with a FLAT index over them, in calls of 32 as
the service does, one after the other in each round; which goes first changes. What was stored is
deleted after each measurement. Redis does all the work that is measured, so the feed's part of a
whole request is smaller. Exit status 1 when the feed costs more than 5 %.
"""

import argparse
import asyncio
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from redis.asyncio import Redis

from app import keys
from app.embedded import embedded_redis
from app.nodes.commands import Script
from app.settings import Settings
from app.storage.memories import SCRIPT_BATCH
from bench.machine import describe_machine, load_line, now_line

DIMENSION = 256
BATCH = 1000
AGENT = "agent_1"
ENTRIES = 10_000
ALLOWED = 1.05
_OF_FEED = re.compile(r"^ *(note_changes\(|created\[).*$", re.MULTILINE)
FIELDS = ("state_vector", "record", "agent_id", "product_id", "regime", "timestamp", "reward")

Words = list[str | bytes | int]


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.feed_cost")
    parser.add_argument("--rounds", type=int, default=60, help="rounds, the median counts (60)")
    options = parser.parse_args()
    print(f"{now_line()}; {describe_machine().sentence}; load average {load_line()}\n")
    with tempfile.TemporaryDirectory() as folder:
        cost = asyncio.run(_measure(Path(folder), options.rounds))
    print(f"load average at the end {load_line()}")
    verdict = "holds" if cost <= ALLOWED else "does NOT hold"
    print(f"at most {ALLOWED - 1:.0%} of the rate of batches: {verdict}")
    return 0 if cost <= ALLOWED else 1


async def _measure(folder: Path, rounds: int) -> float:
    """Print the time of a batch either way; return the median of their ratios in one round."""
    script = Script("store_memories").text
    without, replaced = _OF_FEED.subn("", script)
    assert replaced == 2, "the script names a memory's change and enters all of them"
    took_s: dict[bool, list[float]] = {True: [], False: []}
    used_s: dict[bool, list[float]] = {True: [], False: []}
    async with (
        embedded_redis(Settings(data_dir=folder)) as topology,
        Redis.from_url(topology.master.url, protocol=2) as redis,
    ):
        await _create_index(redis)
        shas = {True: await redis.script_load(script), False: await redis.script_load(without)}
        for number in range(rounds):
            for has_feed in (True, False) if number % 2 else (False, True):
                commands = _batch(shas[has_feed], number)
                used = await _processor_s(redis)
                started = time.perf_counter()
                await _send(redis, commands)
                took_s[has_feed].append(time.perf_counter() - started)
                used_s[has_feed].append(await _processor_s(redis) - used)
                await redis.flushdb()
                await _create_index(redis)
    for name, found in (("time", took_s), ("Redis's processor time", used_s)):
        ratios = [a / b for a, b in zip(found[True], found[False], strict=True)]
        print(
            f"{name} of a batch of {BATCH}: with the feed "
            f"{statistics.median(found[True]) * 1000:.2f} ms, without "
            f"{statistics.median(found[False]) * 1000:.2f} ms; median of the ratios "
            f"{statistics.median(ratios):.3f}"
        )
    ratios = [a / b for a, b in zip(used_s[True], used_s[False], strict=True)]
    return statistics.median(ratios)


async def _create_index(redis: Redis) -> None:
    schema = (
        *("FT.CREATE", keys.episodic_index(AGENT), "ON", "HASH"),
        *("PREFIX", 1, keys.episodic_prefix(AGENT), "SCHEMA"),
        *("state_vector", "VECTOR", "FLAT", 6, "TYPE", "FLOAT32", "DIM", DIMENSION),
        *("DISTANCE_METRIC", "COSINE", "product_id", "TAG", "regime", "TAG"),
        *("timestamp", "NUMERIC", "SORTABLE", "reward", "NUMERIC", "SORTABLE"),
        *("seq", "NUMERIC", "SORTABLE"),
    )
    await redis.execute_command(*schema)  # type: ignore[no-untyped-call]


def _batch(sha: str, number: int) -> list[Words]:
    """Return the script's calls that store one batch (lua/store_memories.lua documents them)."""
    vectors = np.random.default_rng(number).standard_normal((BATCH, DIMENSION)).astype("<f4")
    calls: list[Words] = []
    for start in range(0, BATCH, SCRIPT_BATCH):
        ids = [f"{number:08x}{i:024x}" for i in range(start, min(BATCH, start + SCRIPT_BATCH))]
        names = [keys.episodic_partition(AGENT), *(keys.episodic_memory(AGENT, i) for i in ids)]
        head: Words = [0, 0, "", ENTRIES, 1, len(FIELDS), *FIELDS]
        values: Words = []
        for offset, memory_id in enumerate(ids):
            values += _memory(memory_id, vectors[start + offset].tobytes())
        calls.append(["EVALSHA", sha, len(names), *names, *head, *values])
    return calls


def _memory(memory_id: str, vector: bytes) -> Words:
    record = b'{"id":"%b","agent_id":"agent_1","reward":0.5}' % memory_id.encode() + b" " * 200
    digest = memory_id.encode()[:20]
    size = len(record) + len(vector)
    return [1, digest, size, vector, record, AGENT, "BTC-USD", "bull", "1700000000.0", "0.5"]


async def _send(redis: Redis, commands: Sequence[Words]) -> None:
    pipeline = redis.pipeline(transaction=False)
    for words in commands:
        pipeline.execute_command(*words)
    for reply in await pipeline.execute():
        assert set(reply) == {1}, "each memory was created"


async def _processor_s(redis: Redis) -> float:
    info = await redis.info("cpu")
    return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])


if __name__ == "__main__":
    sys.exit(main())
