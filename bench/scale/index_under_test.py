"""One index on the packaged Redis, asked directly."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from redis import Redis

from app.storage.schema import EPISODIC_HNSW, FLAT_BLOCK_SIZE
from bench.recall import TOP_K

Algorithm = Literal["FLAT", "HNSW"]
ALGORITHMS: tuple[Algorithm, ...] = ("FLAT", "HNSW")

INDEX = "scale"
BATCH = 500
PIPELINED = 16
_HEAD = ("TYPE", "FLOAT32", "DIM")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What filling an index took. Bytes are used by all of Redis, and by the vector index alone."""

    seconds: float
    used_bytes: int
    index_bytes: int


class LoadTooLong(Exception):
    """Loading would take longer than the limit: `minutes` by the rate so far, which only falls."""

    def __init__(self, loaded: int, minutes: float) -> None:
        super().__init__(f"given up after {loaded:,} vectors: all take over {minutes:.0f} minutes")


class IndexUnderTest:
    """An index over hashes that hold a vector each."""

    def __init__(self, redis: Redis, algorithm: Algorithm, dimension: int) -> None:
        self._redis = redis
        self.algorithm = algorithm
        redis.flushall()
        self._command(_create_command(algorithm, dimension))

    def load(self, vectors: NDArray[np.float32], limit_s: float) -> Loaded:
        """Store all of `vectors` (n, d), row numbers as keys. Raises LoadTooLong.

        HNSW gets slower as it grows, so a load is given up only when it is clear by then.
        """
        empty = self._used_bytes()
        started = time.perf_counter()
        for start in range(0, len(vectors), BATCH):
            pipeline = self._redis.pipeline(transaction=False)
            for row in range(start, min(start + BATCH, len(vectors))):
                pipeline.hset(f"scale:{row}", "v", vectors[row].tobytes())
            pipeline.execute()
            seconds = time.perf_counter() - started
            expected_s = seconds * len(vectors) / (start + BATCH)
            if seconds > min(30.0, limit_s / 4) and expected_s > limit_s:
                raise LoadTooLong(start + BATCH, expected_s / 60)
        seconds = time.perf_counter() - started
        return Loaded(seconds, self._used_bytes() - empty, self._index_bytes())

    def search(self, vector: NDArray[np.float32], ef: int | None) -> list[int]:
        """Return the rows of the nearest, nearest first."""
        return _rows(self._command(_search_command(vector, ef)))

    def searches_per_second(self, vectors: NDArray[np.float32], ef: int | None) -> float:
        """Return what one Redis core does when it never waits for its client."""
        started = time.perf_counter()
        for start in range(0, len(vectors), PIPELINED):
            pipeline = self._redis.pipeline(transaction=False)
            for vector in vectors[start : start + PIPELINED]:
                pipeline.execute_command(*_search_command(vector, ef))  # type: ignore[no-untyped-call]
            pipeline.execute()
        return len(vectors) / (time.perf_counter() - started)

    def _command(self, words: Sequence[str | int | bytes]) -> Any:
        return self._redis.execute_command(*words)  # type: ignore[no-untyped-call]

    def _used_bytes(self) -> int:
        return int(self._redis.info("memory")["used_memory"])

    def _index_bytes(self) -> int:
        reply = self._command(["FT.INFO", INDEX])
        pairs = dict(zip(reply[::2], reply[1::2], strict=True))
        return int(float(pairs[b"vector_index_sz_mb"]) * 2**20)


def _create_command(algorithm: Algorithm, dimension: int) -> list[str | int]:
    arguments: list[str | int] = [*_HEAD, dimension, "DISTANCE_METRIC", "COSINE"]
    if algorithm == "FLAT":
        arguments += ["BLOCK_SIZE", FLAT_BLOCK_SIZE]
    else:
        arguments += ["M", EPISODIC_HNSW.m, "EF_CONSTRUCTION", EPISODIC_HNSW.ef_construction]
    head: list[str | int] = ["FT.CREATE", INDEX, "ON", "HASH", "PREFIX", 1, "scale:", "SCHEMA"]
    return [*head, "v", "VECTOR", algorithm, len(arguments), *arguments]


def _search_command(vector: NDArray[np.float32], ef: int | None) -> list[str | int | bytes]:
    runtime = "" if ef is None else f"EF_RUNTIME {ef} "
    return [
        *("FT.SEARCH", INDEX, f"*=>[KNN {TOP_K} @v $q {runtime}AS d]", "RETURN", 1, "d"),
        *("SORTBY", "d", "LIMIT", 0, TOP_K, "PARAMS", 2, "q", vector.tobytes()),
        *("DIALECT", 2, "TIMEOUT", 10_000),
    ]


def _rows(reply: Any) -> list[int]:
    return [int(key.rpartition(b":")[2]) for key in reply[1::2]]
