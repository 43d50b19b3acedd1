"""The same questions through redis-py alone: what the service is held against."""

import asyncio
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import redis
import redis.asyncio
import uvloop

Command = tuple[str | bytes | int, ...]


@dataclass(frozen=True, slots=True)
class RawFigures:
    """Answers a second and latencies in ms."""

    rate: float
    p50_ms: float
    p99_ms: float


def search_command(index: str, vector: bytes, top_k: int) -> Command:
    """Return the search as the service sends it."""
    return (
        "FT.SEARCH", index, f"*=>[KNN {top_k} @state_vector $vector AS distance]",
        "RETURN", 2, "record", "distance", "SORTBY", "distance", "LIMIT", 0, top_k,
        "PARAMS", 2, "vector", vector, "DIALECT", 2, "TIMEOUT", 1000,
    )  # fmt: skip


def ask_one_by_one(url: str, commands: Sequence[Command], *, seconds: float) -> RawFigures:
    """Ask with redis-py's synchronous client, one question at a time."""
    client = redis.Redis.from_url(url, protocol=2)
    latencies: list[float] = []
    try:
        client.ping()
        started_s = now = time.perf_counter()
        while now - started_s < seconds:
            command = commands[len(latencies) % len(commands)]
            client.execute_command(*command)  # type: ignore[no-untyped-call]
            after = time.perf_counter()
            latencies.append(after - now)
            now = after
    finally:
        client.close()
    return _figures(latencies, now - started_s)


def ask_together(
    url: str, commands: Sequence[Command], callers: int, *, seconds: float
) -> RawFigures:
    """Ask with redis-py's asyncio client on uvloop, with a connection for each caller."""
    gc.collect()
    gc.disable()  # as for the generator: only what is measured shall be slow
    try:
        return uvloop.run(_ask_together(url, commands, callers, seconds))
    finally:
        gc.enable()


async def _ask_together(
    url: str, commands: Sequence[Command], callers: int, seconds: float
) -> RawFigures:
    client = redis.asyncio.Redis.from_url(url, protocol=2, max_connections=callers)
    latencies: list[float] = []
    await asyncio.gather(*(client.ping() for _ in range(callers)))
    started_s = time.perf_counter()

    async def caller(number: int) -> None:
        step = number
        now = time.perf_counter()
        while now - started_s < seconds:
            command = commands[step % len(commands)]
            await client.execute_command(*command)  # type: ignore[no-untyped-call]
            after = time.perf_counter()
            latencies.append(after - now)
            now, step = after, step + callers

    try:
        await asyncio.gather(*(caller(number) for number in range(callers)))
        elapsed_s = time.perf_counter() - started_s
    finally:
        await client.aclose()
    return _figures(latencies, elapsed_s)


def _figures(latencies_s: Sequence[float], elapsed_s: float) -> RawFigures:
    p50, p99 = np.percentile(latencies_s, [50, 99]) * 1000
    return RawFigures(len(latencies_s) / elapsed_s, float(p50), float(p99))
