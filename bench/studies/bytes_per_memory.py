"""What a memory takes in Redis, against the bytes of its vectors alone.

python -m bench.studies.bytes_per_memory

20,000 memories of ten agents, through the service, into each layout and kind of index; each on a
Redis of its own. Prints a table and writes it to docs/memory-per-memory.md.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import httpx
import numpy as np
import redis

from app.settings import VectorType
from app.vectors import BYTES_PER_COMPONENT, VectorFormat
from bench.machine import describe_machine, now_line
from bench.paths import DOCS
from bench.report import Table, markdown_table
from bench.service import RunningService, running_service
from bench.studies._batches import (
    BATCH,
    DIMENSION,
    SEED,
    agent_name,
    batch_request,
    connect,
    store_batch,
)

REPORT = DOCS / "memory-per-memory.md"
AGENTS = 10
SAMPLED = 500
SETTLED_S = 120.0

_TEXT = f"""# What a memory takes

{{conditions}}

`make bench-memory`: {{memories:,}} memories of {DIMENSION} numbers of {AGENTS} agents, ids of 12
or 13 characters, every common field and some 30 bytes of metadata, stored through the service;
bytes for each memory. Type: `MEMORY_VECTOR_TYPE`. In all: what Redis's `used_memory` grew by. Of
this, hash: the stored memory itself, its vectors included (`MEMORY USAGE` of {SAMPLED} of them);
vector index: the index's own copy of `state_vector` and its links; the rest: the index's other
fields, the key space and slack.

{{table}}

- `next_state_vector` is stored in the hash and not indexed: it costs its own bytes,
  rounded up by the allocator.
- A `state_vector` lies in memory twice: in the hash (what is returned, replicated and rebuilt from)
  and in the index (what is compared). That is why no layout comes near 1.
- HNSW adds its links (M 16: up to 32 for each vector at the bottom).
- A fork, for a snapshot or a rewrite of the append-only file, may need more for a while; it is not
  in these figures.
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A layout and kind of index: `MEMORY_` settings."""

    name: str
    algorithm: str
    settings: dict[str, str]


CASES = (
    Case("an index for each agent", "FLAT", {"MEMORY_HNSW_THRESHOLD": "0"}),
    Case(
        "an index for each agent",
        "HNSW",
        {"MEMORY_HNSW_THRESHOLD": "1", "MEMORY_HNSW_CHECK_INTERVAL_S": "1"},
    ),
    Case("one index for all (`shared`)", "HNSW", {"MEMORY_LAYOUT": "shared"}),
)


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes for each memory."""

    total: float
    hash: float
    vector_index: float


def main() -> int:
    """Measure, print and write the report; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.bytes_per_memory")
    parser.add_argument("--batches", type=int, default=2, help="batches for each agent (2)")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report goes")
    options = parser.parse_args()
    rows = []
    for case in CASES:
        for with_next in (False, True):
            for vector_type in get_args(VectorType):
                found = _measure(case, with_next, vector_type, options.batches)
                rows.append(_row(case, with_next, vector_type, found))
                print("  ".join(rows[-1]), file=sys.stderr)
    columns = (
        *("layout", "index", "vectors of a memory", "type", "their bytes", "in all"),
        *("of their bytes", "hash", "vector index", "the rest"),
    )
    text = _TEXT.format(
        conditions=f"{now_line()}. {describe_machine().sentence}.",
        memories=AGENTS * BATCH * options.batches,
        table="\n".join(markdown_table(Table(columns, tuple(rows)))),
    )
    print(text)
    options.report.write_text(text, "utf-8")
    return 0


def _row(case: Case, with_next: bool, vector_type: VectorType, found: Footprint) -> tuple[str, ...]:
    stored_as = VectorFormat(DIMENSION, vector_type)
    one = stored_as.encode(bytes(DIMENSION * BYTES_PER_COMPONENT))
    raw = len(one) * (2 if with_next else 1)
    return (
        *(case.name, case.algorithm, "state and next state" if with_next else "state"),
        *(vector_type, f"{raw:,}", f"{found.total:,.0f}", f"{found.total / raw:.2f}"),
        *(f"{found.hash:,.0f}", f"{found.vector_index:,.0f}"),
        f"{found.total - found.hash - found.vector_index:,.0f}",
    )


def _measure(case: Case, with_next: bool, vector_type: VectorType, batches: int) -> Footprint:
    with (
        running_service(case.settings | {"MEMORY_VECTOR_TYPE": vector_type}) as service,
        closing(redis.Redis.from_url(service.redis_url)) as store,
    ):
        empty = _used_bytes(store)
        names = [agent_name(number) for number in range(AGENTS)]
        with connect(service.port) as connection:
            for agent in names:
                for number in range(batches):
                    ids, seed = f"memory-{number}", SEED + 2 * number
                    store_batch(
                        connection, batch_request(agent, seed=seed, ids=ids, with_next=with_next)
                    )
        memories = AGENTS * BATCH * batches
        vector_bytes = _settled_index_bytes(service, case.algorithm, memories)
        return Footprint(
            total=(_used_bytes(store) - empty) / memories,
            hash=_hash_bytes(store, names),
            vector_index=vector_bytes / memories,
        )


def _settled_index_bytes(service: RunningService, algorithm: str, memories: int) -> int:
    """Bytes of the experiences' vector indexes, once all are of this algorithm and alone."""
    give_up_at = time.monotonic() + SETTLED_S
    while time.monotonic() < give_up_at:
        stats = httpx.get(f"{service.url}/v1/stats", params={"limit": 1000}, trust_env=False).json()
        found = [i for i in stats["indexes"] if i["name"].startswith("episodic")]
        is_settled = all(
            i["algorithm"] == algorithm and i["progress"] == 1 and not i["moving_to"] for i in found
        )
        if is_settled and sum(i["documents"] for i in found) == memories:
            return sum(i["vector_bytes"] for i in found)
        time.sleep(0.5)
    raise TimeoutError(f"the indexes did not become {algorithm} within {SETTLED_S:g} s: {found}")


def _hash_bytes(store: redis.Redis, agents: Sequence[str]) -> float:
    each = SAMPLED // len(agents)
    keys = [f"episodic:{{{a}}}:memory-0-{number}" for a in agents for number in range(each)]
    pipeline = store.pipeline(transaction=False)
    for key in keys:
        pipeline.memory_usage(key, samples=0)
    return float(np.mean(pipeline.execute()))


def _used_bytes(store: redis.Redis) -> int:
    """Without the buffer of the append-only file, which is not the memories'."""
    info = store.info("memory")
    return int(info["used_memory"]) - int(info["mem_aof_buffer"])


if __name__ == "__main__":
    sys.exit(main())
