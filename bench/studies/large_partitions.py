"""One large partition: FLAT and HNSW, float32 and float16, with filters of every width.

    python -m bench.studies.large_partitions [--sizes 20000 100000] [--data market] [--moving]

A real embedded Redis, vectors of 256 numbers, top 10, questions one at a time. For each index:
bytes and build time, then for each filter (a tag that this share of the memories has) and each
hybrid policy the time that Redis itself spent on a search (`INFO commandstats`, which other load on
the machine disturbs little) and the recall against brute force over the float32 vectors.
`--moving`: how long searches take while an HNSW index is built beside the FLAT one.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import redis
from numpy.typing import NDArray

from bench.data import market_history, random_moments
from bench.machine import describe_machine, load_line, now_line
from bench.redis_node import running_redis

DIMENSION = 256
TOP_K = 10
SEED = 11
BATCH = 500
SECONDS = 3.0
SHARES = (0.001, 0.01, 0.1, 0.5)
EF_RUNTIME = 64
POLICIES = (
    "",
    "HYBRID_POLICY ADHOC_BF",
    "HYBRID_POLICY BATCHES",
    "HYBRID_POLICY BATCHES BATCH_SIZE 100",
    "HYBRID_POLICY BATCHES BATCH_SIZE 1000",
)
EVERYTHING = "*"

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Index:
    """An index over the vectors of one type."""

    algorithm: str
    type: str

    @property
    def name(self) -> str:
        return f"{self.algorithm}-{self.type}"

    @property
    def dtype(self) -> str:
        return "<f4" if self.type == "FLOAT32" else "<f2"

    @property
    def prefix(self) -> str:
        return f"{self.type}:"

    def command(self) -> list[str | int]:
        arguments: list[str | int] = ["TYPE", self.type, "DIM", DIMENSION]
        arguments += ["DISTANCE_METRIC", "COSINE"]
        if self.algorithm == "HNSW":
            arguments += ["M", 16, "EF_CONSTRUCTION", 200, "EF_RUNTIME", EF_RUNTIME]
        else:
            arguments += ["BLOCK_SIZE", 64]
        return [
            *("FT.CREATE", self.name, "ON", "HASH", "PREFIX", 1, self.prefix, "SCHEMA"),
            *("share", "TAG", "vector", "VECTOR", self.algorithm, len(arguments), *arguments),
        ]


INDEXES = tuple(Index(a, t) for t in ("FLOAT32", "FLOAT16") for a in ("FLAT", "HNSW"))


@dataclass(frozen=True)
class Data:
    """stored (n, 256), asked (m, 256), and which of the stored have each share's tag (n,)."""

    stored: Vectors
    asked: Vectors
    tagged: dict[float, NDArray[np.bool_]]

    def true_neighbours(self, share: float | None) -> list[set[int]]:
        """Row numbers of the nearest in each question's filter, in float32 brute force."""
        rows = np.arange(len(self.stored))
        if share is not None:
            rows = rows[self.tagged[share]]
        unit = self.stored[rows] / np.linalg.norm(self.stored[rows], axis=1, keepdims=True)
        similar = self.asked @ unit.T
        return [set(rows[np.argsort(-line)[:TOP_K]].tolist()) for line in similar]


def data_of(kind: str, size: int, questions: int) -> Data:
    """The same for the same arguments."""
    generator = np.random.default_rng(SEED)
    if kind == "market":
        history = market_history()
        past, later = history.past.vectors, history.later.vectors
        stored = past[generator.choice(len(past), size, replace=False)]
        asked = later[generator.choice(len(later), questions, replace=False)]
    else:
        stored = random_moments(size, DIMENSION, [SEED, 1]).vectors
        asked = random_moments(questions, DIMENSION, [SEED, 2]).vectors
    tagged = {share: generator.random(size) < share for share in SHARES}
    return Data(stored, asked, tagged)


def tag(share: float) -> str:
    return f"s{share:g}".replace(".", "_")


def fill(node: redis.Redis, data: Data, index: Index) -> None:
    """The hashes that an index is over."""
    raw = data.stored.astype(index.dtype)
    names = [
        ",".join(tag(share) for share in SHARES if data.tagged[share][row]) or "none"
        for row in range(len(raw))
    ]
    for start in range(0, len(raw), BATCH):
        pipeline = node.pipeline(transaction=False)
        for row in range(start, min(start + BATCH, len(raw))):
            fields: dict[str, str | bytes] = {"vector": raw[row].tobytes(), "share": names[row]}
            pipeline.hset(f"{index.prefix}{row}", mapping=fields)  # type: ignore[arg-type]
        pipeline.execute()


def build(node: redis.Redis, index: Index) -> tuple[float, int]:
    """Create the index over what is there; seconds, and bytes that Redis grew by."""
    before = int(node.info("memory")["used_memory"])
    started = time.monotonic()
    node.execute_command(*index.command())  # type: ignore[no-untyped-call]
    while not is_built(node, index):
        time.sleep(0.2)
    took = time.monotonic() - started
    return took, int(node.info("memory")["used_memory"]) - before


def is_built(node: redis.Redis, index: Index) -> bool:
    """Whether everything that was there is in the index."""
    reply = node.execute_command("FT.INFO", index.name)  # type: ignore[no-untyped-call]
    info = dict(zip(reply[::2], reply[1::2], strict=False))
    return int(info[b"indexing"]) == 0 and float(info[b"percent_indexed"]) >= 1


def searches(
    node: redis.Redis, index: Index, data: Data, query: str, policy: str
) -> Iterator[set[int]]:
    """Ask each question; the rows found."""
    knn = f"[KNN {TOP_K} @vector $vector {policy} AS distance]"
    for vector in data.asked:
        reply = node.execute_command(  # type: ignore[no-untyped-call]
            *("FT.SEARCH", index.name, f"{query}=>{knn}", "NOCONTENT", "SORTBY", "distance"),
            *("LIMIT", 0, TOP_K, "PARAMS", 2, "vector", vector.astype(index.dtype).tobytes()),
            *("DIALECT", 2, "TIMEOUT", 10_000),
        )
        yield {int(key.partition(b":")[2]) for key in reply[1:]}


def redis_ms(node: redis.Redis) -> float:
    """Milliseconds of Redis for each search since the counters were reset."""
    return float(node.info("commandstats")["cmdstat_FT.SEARCH"]["usec_per_call"]) / 1000


def measure(node: redis.Redis, index: Index, data: Data, share: float | None, policy: str) -> str:
    """One line of the table."""
    query = EVERYTHING if share is None else f"(@share:{{{tag(share)}}})"
    next(searches(node, index, data, query, policy))
    node.config_resetstat()
    found = list(searches(node, index, data, query, policy))
    took_ms = redis_ms(node)
    true = data.true_neighbours(share)
    recall = statistics.mean(len(f & t) / max(1, len(t)) for f, t in zip(found, true, strict=True))
    width = "all" if share is None else f"{share:.1%}"
    return (
        f"{index.name:13} {width:>6}  {policy or 'engine chooses':37} {took_ms:8.2f} {recall:7.4f}"
    )


def run(kind: str, size: int, questions: int, indexes: Sequence[Index]) -> None:
    data = data_of(kind, size, questions)
    print(f"\n{kind}, {size:,} memories, {questions} questions")
    with running_redis() as running:
        node = redis.Redis.from_url(running.url, protocol=2)
        for kind_of_vector in ("FLOAT32", "FLOAT16"):
            own = [index for index in indexes if index.type == kind_of_vector]
            if not own:
                continue
            before = int(node.info("memory")["used_memory"])
            fill(node, data, own[0])
            grown = int(node.info("memory")["used_memory"]) - before
            print(f"hashes {kind_of_vector}: {grown / size:,.0f} bytes each")
            for index in own:
                took_s, grown = build(node, index)
                print(
                    f"{index.name}: built in {took_s:.1f} s, {size / took_s:,.0f}/s, "
                    f"{grown / size:,.0f} bytes for each memory"
                )
        print(f"{'index':13} {'filter':>6}  {'policy':37} {'Redis ms':>8} {'recall':>7}")
        for index in indexes:
            print(measure(node, index, data, None, ""))
            for share in SHARES:
                for policy in POLICIES if index.type == "FLOAT32" else POLICIES[:1]:
                    print(measure(node, index, data, share, policy), flush=True)
        node.close()


def moving(kind: str, size: int) -> None:
    """How long searches of the FLAT index take while the HNSW index is built beside it."""
    data = data_of(kind, size, 200)
    flat, hnsw = Index("FLAT", "FLOAT32"), Index("HNSW", "FLOAT32")
    with running_redis() as running:
        node = redis.Redis.from_url(running.url, protocol=2)
        fill(node, data, flat)
        build(node, flat)
        print(f"\n{kind}, {size:,} memories: one client's searches of the FLAT index")
        print(f"before: {latencies(node, flat, data, SECONDS)}")
        node.execute_command(*hnsw.command())  # type: ignore[no-untyped-call]
        started = time.monotonic()
        print(f"while HNSW is built: {latencies(node, flat, data, 3600, until_built=hnsw)}")
        print(f"which took {time.monotonic() - started:.1f} s")
        started = time.monotonic()
        node.execute_command("FT.DROPINDEX", flat.name)  # type: ignore[no-untyped-call]
        node.ping()
        print(f"dropping FLAT: {1000 * (time.monotonic() - started):.1f} ms")
        node.close()


def latencies(
    node: redis.Redis, index: Index, data: Data, seconds: float, until_built: Index | None = None
) -> str:
    """Quantiles of searches one after the other, in ms."""
    took_ms: list[float] = []
    give_up_at = time.monotonic() + seconds
    while time.monotonic() < give_up_at:
        found = searches(node, index, data, EVERYTHING, "")
        for _ in range(50):
            started = time.monotonic()
            next(found)
            took_ms.append(1000 * (time.monotonic() - started))
        if until_built is not None and is_built(node, until_built):
            break
    p50, p99 = np.percentile(took_ms, [50, 99])
    return f"{len(took_ms):,} searches, p50 {p50:.2f}, p99 {p99:.2f}, slowest {max(took_ms):.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--data", nargs="+", default=["random"], choices=["random", "market"])
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--indexes", nargs="+", default=[index.name for index in INDEXES])
    parser.add_argument("--moving", action="store_true", help="only searches while HNSW is built")
    asked = parser.parse_args()
    print(f"{describe_machine().sentence}\n{now_line()}, load {load_line()}")
    for kind in asked.data:
        for size in asked.sizes:
            if asked.moving:
                moving(kind, size)
                continue
            run(kind, size, asked.questions, [i for i in INDEXES if i.name in asked.indexes])


if __name__ == "__main__":
    main()
