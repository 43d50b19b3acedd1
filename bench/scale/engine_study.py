"""FLAT and HNSW at several sizes and EFs, on the packaged Redis alone."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from redis import Redis

from bench.data import DataKind, workload
from bench.latency import LatencySummary, summarise
from bench.progress import Say
from bench.recall import kth_distances, recall_of
from bench.redis_node import running_redis
from bench.scale.index_under_test import ALGORITHMS, Algorithm, IndexUnderTest, LoadTooLong

EFS = (10, 64, 128, 256, 512)
QUESTIONS = 300
ROUNDS = 3
WARM_UP = 20
LONGEST_S = 20.0
"""Of one index and EF: slow sizes are asked fewer questions and rounds."""


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One index and EF (None: FLAT). `not_run` says why there is nothing else."""

    data: DataKind
    dimension: int
    size: int
    algorithm: Algorithm
    ef: int | None
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    recall: float = 0.0
    per_second: float = 0.0
    load_s: float = 0.0
    used_bytes: int = 0
    index_bytes: int = 0
    not_run: str | None = None


@dataclass(frozen=True, slots=True)
class Partition:
    """A size to measure."""

    data: DataKind
    dimension: int
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class _Questions:
    """`vectors` (n, d) are stored; `asked` (q, d) have their true tenth neighbour `kth` away."""

    vectors: NDArray[np.float32]
    asked: NDArray[np.float32]
    kth: NDArray[np.float32]


def study_engine(
    partitions: Sequence[Partition], *, seed: int, limit_s: float, say: Say
) -> list[EngineRow]:
    """Measure every partition with both algorithms, one after the other.

    `limit_s`: an index that would take longer to load is a row that says so.
    """
    rows: list[EngineRow] = []
    for partition in partitions:
        say(f"{partition.size:,} {partition.data} vectors of {partition.dimension} numbers")
        questions = _questions(partition, seed)
        for algorithm in ALGORITHMS:
            # A Redis for each: memory that another index left behind does not count.
            with running_redis() as node, Redis.from_url(node.url, protocol=2) as redis:
                index = IndexUnderTest(redis, algorithm, partition.dimension)
                found = _measure(index, partition, questions, limit_s)
            for row in found:
                say("    " + _sentence(row))
            rows += found
    return rows


def _questions(partition: Partition, seed: int) -> _Questions:
    made = workload(
        partition.data,
        name="scale",
        agents=1,
        memories_each=partition.size,
        questions=QUESTIONS,
        dimension=partition.dimension,
        seed=seed,
    )
    vectors, asked = made.stored[0].vectors, made.asked.vectors
    return _Questions(vectors, asked, kth_distances(vectors, asked))


def _measure(
    index: IndexUnderTest, partition: Partition, questions: _Questions, limit_s: float
) -> list[EngineRow]:
    empty = EngineRow(partition.data, partition.dimension, partition.size, index.algorithm, ef=None)
    try:
        loaded = index.load(questions.vectors, limit_s)
    except LoadTooLong as reason:
        return [replace(empty, not_run=str(reason))]
    filled = replace(
        empty,
        load_s=loaded.seconds,
        used_bytes=loaded.used_bytes,
        index_bytes=loaded.index_bytes,
    )
    efs = EFS if index.algorithm == "HNSW" else (None,)
    return [_ask(index, replace(filled, ef=ef), questions) for ef in efs]


def _ask(index: IndexUnderTest, row: EngineRow, questions: _Questions) -> EngineRow:
    """Return the quietest of some rounds: other work can only make a round slower."""
    for query in questions.asked[-WARM_UP:]:
        index.search(query, row.ef)
    give_up_at = time.perf_counter() + LONGEST_S
    rounds: list[LatencySummary] = []
    per_second = 0.0
    answers: list[list[int]] = []
    while len(rounds) < ROUNDS and (not rounds or time.perf_counter() < give_up_at):
        answers, latencies_ms = _one_round(index, row.ef, questions, give_up_at)
        rounds.append(summarise(latencies_ms))
        asked = questions.asked[: len(answers)]
        per_second = max(per_second, index.searches_per_second(asked, row.ef))
    recalls = [
        recall_of(questions.vectors, query, found, float(distance))
        for query, found, distance in zip(questions.asked, answers, questions.kth, strict=False)
    ]
    quietest = min(rounds, key=lambda summary: summary.p50_ms)
    return replace(
        row,
        p50_ms=quietest.p50_ms,
        p95_ms=quietest.p95_ms,
        recall=float(np.mean(recalls)),
        per_second=per_second,
    )


def _one_round(
    index: IndexUnderTest, ef: int | None, questions: _Questions, give_up_at: float
) -> tuple[list[list[int]], list[float]]:
    answers: list[list[int]] = []
    latencies_ms: list[float] = []
    for query in questions.asked:
        started = time.perf_counter()
        answers.append(index.search(query, ef))
        now = time.perf_counter()
        latencies_ms.append((now - started) * 1000)
        if now > give_up_at:
            break
    return answers, latencies_ms


def _sentence(row: EngineRow) -> str:
    if row.not_run is not None:
        return f"{row.algorithm}: not run: {row.not_run}"
    ef = "" if row.ef is None else f" EF {row.ef}"
    return (
        f"{row.algorithm}{ef}: P50 {row.p50_ms:.2f} ms, {row.per_second:,.0f}/s, recall "
        f"{row.recall:.3f}, loaded in {row.load_s:.1f} s, {row.used_bytes / 2**20:,.0f} MiB"
    )
