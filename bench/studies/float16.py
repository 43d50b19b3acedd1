"""Float16 against float32, in one run: bytes, time and what it does to answers.

    python -m bench.studies.float16 [--sizes 1000 10000 100000] [--hnsw]

Vectors of 256 numbers, top 10. For each data and size one embedded Redis that holds the same
vectors in both types, with an index over each; rounds of questions to one and to the other take
turns, so that both meet the same machine. Prints the tables and writes them to
docs/float16-benchmark.md.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import redis
from numpy.typing import NDArray

from app.vectors import VectorFormat
from bench.machine import describe_machine, load_line, now_line
from bench.paths import DOCS
from bench.recall import TOP_K, distances, kth_distances, recall_of
from bench.redis_node import running_redis
from bench.report import Table, markdown_table
from bench.studies.large_partitions import DIMENSION, Data, Index, build, data_of, fill, is_built

REPORT = DOCS / "float16-benchmark.md"
SIZES = (1_000, 10_000, 100_000)
QUESTIONS = 200
ROUNDS = 5
WARM_UP = 20
TYPES = ("FLOAT32", "FLOAT16")

_TEXT = """# What float16 saves and costs

{conditions}

`make bench-float16`: the packaged Redis alone, vectors of 256 numbers, top 10, {questions}
questions in {rounds} rounds, which the float32 index and the float16 one take in turns. Hash: the
vector and a short field. Redis: its own time for a search (`INFO commandstats`), the median of the
rounds; p50 is the client's. Recall: of the true ten by float32 brute force. `market` are windows of
real days, which resemble each other much more than random vectors do.

{table}

How far the engine's distances are from the true ones (double precision, of the vectors as they were
sent), over all answers above, and how much farther than the true tenth neighbour the worst memory
was that an answer held in its stead:

{errors}

The service's own part for a vector of 256 numbers, microseconds: {own}.
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """One index. Bytes are of each memory; `off` are errors of distances."""

    index: Index
    hash_bytes: float
    index_bytes: float
    redis_ms: float
    p50_ms: float
    recall: float
    off: NDArray[np.float64]
    worst_excess: float


def main() -> int:
    """Measure, print and write the report; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.float16")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--data", nargs="+", default=["market", "random"])
    parser.add_argument("--hnsw", action="store_true", help="HNSW indexes too (slow to build)")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report goes")
    options = parser.parse_args()
    before = load_line()
    rows: list[tuple[str, ...]] = []
    errors: list[tuple[str, ...]] = []
    for kind in options.data:
        for size in options.sizes:
            for algorithm in ("FLAT", "HNSW") if options.hnsw else ("FLAT",):
                full, half = compare(kind, size, algorithm)
                rows += [_row(kind, size, full, full), _row(kind, size, half, full)]
                errors += [_errors(kind, size, figures) for figures in (full, half)]
                print("\n".join("  ".join(row) for row in rows[-2:]), file=sys.stderr)
    columns = (
        *("data", "memories", "index", "type", "hash, bytes", "index, bytes", "Redis, ms"),
        *("of float32's", "p50, ms", "recall@10"),
    )
    error_columns = ("data", "memories", "index", "type", "mean", "99 %", "largest", "farther by")
    text = _TEXT.format(
        conditions=(
            f"{now_line()}. {describe_machine().sentence}. Load average before {before}, after "
            f"{load_line()}."
        ),
        questions=QUESTIONS,
        rounds=ROUNDS,
        table="\n".join(markdown_table(Table(columns, tuple(rows)))),
        errors="\n".join(markdown_table(Table(error_columns, tuple(errors)))),
        own=_own_part(),
    )
    print(text)
    options.report.write_text(text, "utf-8")
    return 0


def compare(kind: str, size: int, algorithm: str) -> tuple[Figures, Figures]:
    """Both types, on one Redis."""
    data = data_of(kind, size, QUESTIONS)
    indexes = [Index(algorithm, name) for name in TYPES]
    with running_redis() as running:
        node = redis.Redis.from_url(running.url, protocol=2)
        sizes = [_load(node, data, index) for index in indexes]
        asked = [_ask(node, index, data.asked[:WARM_UP]) for index in indexes]
        redis_ms: list[list[float]] = [[], []]
        client_ms: list[list[float]] = [[], []]
        for _ in range(ROUNDS):
            for i, index in enumerate(indexes):
                node.config_resetstat()
                asked[i] = _ask(node, index, data.asked)
                usec = node.info("commandstats")["cmdstat_FT.SEARCH"]["usec_per_call"]
                redis_ms[i].append(float(usec) / 1000)
                client_ms[i] += [took_ms for _, took_ms in asked[i]]
        node.close()
    kth = kth_distances(data.stored, data.asked)
    found = [
        Figures(
            index=index,
            hash_bytes=sizes[i][0],
            index_bytes=sizes[i][1],
            redis_ms=statistics.median(redis_ms[i]),
            p50_ms=statistics.median(client_ms[i]),
            recall=statistics.mean(
                recall_of(data.stored, question, list(answer), float(k))
                for question, (answer, _), k in zip(data.asked, asked[i], kth, strict=True)
            ),
            off=_off(data, [answer for answer, _ in asked[i]]),
            worst_excess=max(
                float(distances(data.stored[list(answer)], question).max() - k)
                for question, (answer, _), k in zip(data.asked, asked[i], kth, strict=True)
            ),
        )
        for i, index in enumerate(indexes)
    ]
    return found[0], found[1]


def _load(node: redis.Redis, data: Data, index: Index) -> tuple[float, float]:
    """Bytes of each memory that the hashes and the index take."""
    before = int(node.info("memory")["used_memory"])
    fill(node, data, index)
    hashes = int(node.info("memory")["used_memory"]) - before
    _, grown = build(node, index)
    while not is_built(node, index):
        time.sleep(0.2)
    return hashes / len(data.stored), grown / len(data.stored)


def _ask(
    node: redis.Redis, index: Index, questions: NDArray[np.float32]
) -> list[tuple[dict[int, float], float]]:
    """For each question the rows found with their distances, and how long it took in ms."""
    found = []
    knn = f"*=>[KNN {TOP_K} @vector $vector AS distance]"
    for vector in questions:
        raw = vector.astype(index.dtype).tobytes()
        started = time.perf_counter()
        reply = node.execute_command(  # type: ignore[no-untyped-call]
            *("FT.SEARCH", index.name, knn, "RETURN", 1, "distance", "SORTBY", "distance"),
            *("LIMIT", 0, TOP_K, "PARAMS", 2, "vector", raw, "DIALECT", 2, "TIMEOUT", 10_000),
        )
        took_ms = (time.perf_counter() - started) * 1000
        rows = [int(key.partition(b":")[2]) for key in reply[1::2]]
        found.append((dict(zip(rows, (float(f[1]) for f in reply[2::2]), strict=True)), took_ms))
    return found


def _off(data: Data, answers: Sequence[dict[int, float]]) -> NDArray[np.float64]:
    """How far each distance of each answer is from the true one."""
    off = []
    for question, answer in zip(data.asked.astype("f8"), answers, strict=True):
        stored = data.stored[list(answer)].astype("f8")
        lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(question)
        off += np.abs(list(answer.values()) - (1 - stored @ question / lengths)).tolist()
    return np.asarray(off)


def _row(kind: str, size: int, figures: Figures, full: Figures) -> tuple[str, ...]:
    index = figures.index
    return (
        *(kind, f"{size:,}", index.algorithm, index.type.lower()),
        *(f"{figures.hash_bytes:,.0f}", f"{figures.index_bytes:,.0f}"),
        *(f"{figures.redis_ms:.3f}", f"{figures.redis_ms / full.redis_ms:.2f}"),
        *(f"{figures.p50_ms:.3f}", f"{figures.recall:.4f}"),
    )


def _errors(kind: str, size: int, figures: Figures) -> tuple[str, ...]:
    off = figures.off
    return (
        *(kind, f"{size:,}", figures.index.algorithm, figures.index.type.lower()),
        *(f"{off.mean():.1e}", f"{np.quantile(off, 0.99):.1e}", f"{off.max():.1e}"),
        f"{max(0.0, figures.worst_excess):.1e}",
    )


def _own_part() -> str:
    stored_as = VectorFormat(DIMENSION, "float16")
    raw = np.random.default_rng(1).standard_normal(DIMENSION, dtype=np.float32).tobytes()
    stored = stored_as.encode(raw)
    took = {
        "to see that it fits": _median_us(lambda: stored_as.require_fit(raw)),
        "to round it": _median_us(lambda: stored_as.encode(raw)),
        "to read it back": _median_us(lambda: stored_as.decode(stored)),
    }
    return ", ".join(f"{value:.1f} {what}" for what, value in took.items())


def _median_us(call: Callable[[], object], repeats: int = 2000) -> float:
    took = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        took.append(time.perf_counter() - started)
    return statistics.median(took) * 1e6


if __name__ == "__main__":
    sys.exit(main())
