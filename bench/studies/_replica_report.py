"""What the replica's study measured, as a page."""

from pathlib import Path

import msgspec

REDIS_PY, ALONE = "redis-py", "replica alone"


class Row(msgspec.Struct, frozen=True):
    """One way to ask some memories; `ALONE` is the replica asked again and again."""

    size: int
    kind: str
    is_filtered: bool
    way: str
    p50_us: float
    p99_us: float
    recall: float
    load: str


class Crowd(msgspec.Struct, frozen=True):
    """Agents that ask replicas of their own at once."""

    agents: int
    way: str
    p50_us: float
    p99_us: float
    per_s: float


class Filled(msgspec.Struct, frozen=True):
    """What a replica took: bytes for each memory, and memories filled per second."""

    size: int
    bytes_each: float
    per_s: float


class Results(msgspec.Struct):
    """All that was measured. `missing` says what was not."""

    circumstances: str = ""
    missing: str = ""
    rows: list[Row] = []
    crowds: list[Crowd] = []
    filled: list[Filled] = []

    def merged(self, newer: "Results") -> "Results":
        """Return these with what a later run measured in place of the same."""
        rows = {(r.size, r.kind, r.is_filtered, r.way): r for r in (*self.rows, *newer.rows)}
        filled = {f.size: f for f in (*self.filled, *newer.filled)}
        return Results(
            newer.circumstances,
            newer.missing,
            sorted(rows.values(), key=lambda r: (r.size, r.kind != "random", r.is_filtered)),
            newer.crowds or self.crowds,
            sorted(filled.values(), key=lambda f: f.size),
        )


def read_results(path: Path) -> Results:
    """Return what earlier runs measured."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


_HEAD = """# A replica in the agent's own process

Written by `make bench-replica`. Latencies in microseconds, one caller, the 10 nearest of vectors
of 256 numbers. Each question goes to every way in turn, so that none finds its data in the
processor's caches; `alone` is the replica asked over and over. The filter leaves the regime that
most memories have. `recall` is the share of the exact nearest, in double precision. Qdrant Edge is
measured as it comes (HNSW beyond its threshold) and with `exact`; faiss is a flat index on one
thread.

Measured {circumstances}.

What else the machine does shows in these figures. Each row has the load average of the last minute;
the study itself causes about 1 of it. More means that other work took part of the cores and of the
caches: then compare the ways within one block of rows, whose questions took turns, not one block
with another, and do not quote a time or a P99. With 1,000 memories a good part of the replica's
time is Python that the other ways have pushed out of the caches.
{missing}
| memories | vectors | filter | way | P50 us | P99 us | of redis-py | recall | load |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""
_ALONE_HEAD = """
## The replica alone

| memories | vectors | filter | P50 us | P99 us |
| --- | --- | --- | --- | --- |
"""
_CROWD_HEAD = """
## Many agents at once

Each agent has a replica of 1,000 memories of its own and asks without a pause, without a feed to
follow. The machine's cores bound what all of them get; up to that number the time of one answer
should not grow. Threads share Python's interpreter lock outside the scan; processes do not.

| agents | as | P50 us | P99 us | answers/s of all |
| --- | --- | --- | --- | --- |
"""
_MEMORY_HEAD = """
## Memory and filling

The process's memory grew by so much for each memory while the replicas were filled over HTTP, one
after another. So the first row holds what the process loads for a replica at all (some 70 MB), and
the second one reuses room of the first: only the last says what a memory takes.

| memories | bytes each | filled per second |
| --- | --- | --- |
"""


def report(results: Results) -> str:
    """Return the page."""
    missing = f"\n{results.missing}\n" if results.missing else ""
    beside = {_asked(r): r.p50_us for r in results.rows if r.way == REDIS_PY}
    parts = [_HEAD.format(circumstances=results.circumstances, missing=missing)]
    parts += [
        f"| {r.size:,} | {r.kind} | {_filter(r)} | {r.way} | {r.p50_us:,.0f} | {r.p99_us:,.0f} | "
        f"{r.p50_us / beside[_asked(r)]:.2f} | {r.recall:.3f} | {r.load} |\n"
        for r in results.rows
        if r.way != ALONE
    ]
    parts += [_ALONE_HEAD]
    parts += [
        f"| {r.size:,} | {r.kind} | {_filter(r)} | {r.p50_us:,.0f} | {r.p99_us:,.0f} |\n"
        for r in results.rows
        if r.way == ALONE
    ]
    parts += [_CROWD_HEAD]
    parts += [
        f"| {c.agents} | {c.way} | {c.p50_us:,.0f} | {c.p99_us:,.0f} | {c.per_s:,.0f} |\n"
        for c in results.crowds
    ]
    parts += [_MEMORY_HEAD]
    parts += [f"| {f.size:,} | {f.bytes_each:,.0f} | {f.per_s:,.0f} |\n" for f in results.filled]
    return "".join(parts)


def _asked(row: Row) -> tuple[int, str, bool]:
    return row.size, row.kind, row.is_filtered


def _filter(row: Row) -> str:
    return "regime" if row.is_filtered else "none"
