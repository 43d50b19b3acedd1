"""Queries without a vector: ranges, sorting, pages, counts; and deletes what they find, in steps.

Pages use keyset pagination over the sort value and then `seq`, the order of writing. So a page
begins right after the previous page's last memory, whatever was written in between. FT.SEARCH sorts
by one field only and leaves the order of equal values undefined, so FT.AGGREGATE sorts here.
https://redis.io/docs/latest/commands/ft.aggregate/

A query returns a concept's counters as they were last folded.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from app import keys
from app.model import Accesses
from app.nodes.client import Client
from app.nodes.commands import ask_one
from app.nodes.node import RedisNode
from app.nodes.reads import ReadRouter
from app.storage.index import Indexes
from app.storage.query_syntax import conjunction, keyset
from app.storage.schema import IndexSchema

Order = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True)
class PagePosition:
    """Where a page ended: the last memory's sort value (None if it has none) and its `seq`."""

    value: float | None
    seq: int


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which memories, in which order. `conditions` are parts in query syntax.

    `counters` also requests how many searches found each one (concepts only).
    """

    schema: IndexSchema
    conditions: tuple[str, ...]
    sort_by: str
    order: Order
    limit: int
    after: PagePosition | None
    counters: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """One page: records (JSON bytes), the number of all matches, and the position to continue from.

    `positions` holds each record's position. `accesses` holds the records' folded counters, in the
    same order, if they were requested.
    """

    records: list[bytes]
    accesses: list[Accesses]
    total: int
    end: PagePosition | None
    positions: list[PagePosition]


class MemoryQuery:
    """Queries memories without comparing vectors."""

    def __init__(self, reads: ReadRouter, *, indexes: Indexes, timeout_ms: int) -> None:
        self._reads = reads
        self._indexes = indexes
        self._timeout_ms = timeout_ms

    async def page(self, query: PageQuery) -> Page:
        """Return one page and the total, as of one moment. Raise StorageError."""
        rows, total = await self._ask(
            query.schema,
            [
                self._page_command(query),
                self._count_command(query.schema, conjunction(query.conditions)),
            ],
        )
        parsed = [dict(zip(row[::2], row[1::2], strict=True)) for row in rows[1:]]
        # A foreign hash under this prefix is not a memory, and searches skip it, too.
        shown = [row for row in parsed[: query.limit] if b"record" in row and b"seq" in row]
        positions = [_position(row, query.sort_by) for row in shown]
        end = positions[-1] if len(parsed) > query.limit and positions else None
        accesses = [folded_accesses(row[b"__key"], row) for row in shown] if query.counters else []
        records = [row[b"record"] for row in shown]
        return Page(records, accesses, int(total[0]), end, positions)

    async def count(self, schema: IndexSchema, conditions: Sequence[str]) -> int:
        """Return how many memories match."""
        (count,) = await self.counts(schema, [conditions])
        return count

    async def counts(self, schema: IndexSchema, conditions: Sequence[Sequence[str]]) -> list[int]:
        """Return how many memories match each of these conditions, in one round trip."""
        commands = [self._count_command(schema, conjunction(parts)) for parts in conditions]
        return [int(reply[0]) for reply in await self._ask(schema, commands)]

    async def keys(self, schema: IndexSchema, conditions: Sequence[str], limit: int) -> list[bytes]:
        """Return the keys of at most `limit` memories that match, in no order."""
        command = ("FT.SEARCH", schema.alias, conjunction(conditions), "NOCONTENT", "LIMIT", 0)
        (reply,) = await self._ask(
            schema, [(*command, limit, "DIALECT", 2, "TIMEOUT", self._timeout_ms)]
        )
        return reply[1:]

    async def last_seq(self, partition: str) -> int:
        """Return the `seq` of the newest memory of this partition (its key); 0 if empty."""

        async def read(node: Client) -> int:
            return int(await ask_one(node, "HGET", partition, "seq") or 0)

        return await self._reads.read(partition, read)

    async def numbers(self, key: str) -> list[int]:
        """Return the numbers of a set of the semantic partition. Raise StorageError."""

        async def read(node: Client) -> list[int]:
            return [int(number) for number in await ask_one(node, "SMEMBERS", key)]

        return await self._reads.read(keys.SEMANTIC_PARTITION, read)

    def _page_command(self, query: PageQuery) -> tuple[str | int, ...]:
        conditions = list(query.conditions)
        if query.after is not None:
            after = query.after
            conditions.append(keyset(query.sort_by, query.order, after.value, after.seq))
        read: tuple[str | int, ...] = ("@record",)
        if query.counters:
            read += ("@__key", *(f"@{name}" for name in COUNTER_FIELDS))
        one_more = query.limit + 1  # tells whether another page follows
        return (
            *("FT.AGGREGATE", query.schema.alias, conjunction(conditions)),
            *("SORTBY", 4, f"@{query.sort_by}", query.order.upper(), "@seq", "ASC"),
            *("MAX", one_more, "LIMIT", 0, one_more, "LOAD", len(read), *read),
            *("DIALECT", 2, "TIMEOUT", self._timeout_ms),
        )

    def _count_command(self, schema: IndexSchema, text: str) -> tuple[str | int, ...]:
        timeout = ("TIMEOUT", self._timeout_ms)
        return ("FT.SEARCH", schema.alias, text, "LIMIT", 0, 0, "DIALECT", 2, *timeout)

    async def _ask(
        self, schema: IndexSchema, commands: Sequence[tuple[str | int, ...]]
    ) -> list[list[Any]]:
        async def ask(node: RedisNode) -> list[list[Any]]:
            return await self._indexes.ask(node, schema, commands) or [[0] for _ in commands]

        return await self._reads.read_indexes(schema.route, ask)


def _position(row: dict[bytes, bytes], sort_by: str) -> PagePosition:
    """Return a row's position. Its value comes from the record; the row has only twelve digits."""
    record = orjson.loads(row[b"record"])
    value = record[sort_by] if sort_by in record else row.get(sort_by.encode())
    return PagePosition(None if value is None else float(value), int(row[b"seq"]))


COUNTER_FIELDS = ("seq", "access_count", "last_accessed")


def folded_accesses(key: bytes, fields: dict[bytes, bytes]) -> Accesses:
    """Pop COUNTER_FIELDS. Return them as the counters of the concept with this key."""
    seq, count, last = (fields.pop(name.encode()) for name in COUNTER_FIELDS)
    return Accesses(keys.semantic_id(key.decode()), int(seq), int(count), float(last) or None)


def merged_pages(wanted: PageQuery, *pages: Page) -> Page:
    """Return one page of several, asked one after the other.

    What moves from one to another in between is on two of them; the later page's is shown.
    """
    rows = {
        position.seq: (record, position)
        for page in pages
        for record, position in zip(page.records, page.positions, strict=True)
    }
    in_order = sorted(rows.values(), key=lambda row: _place(row[1], wanted))
    shown = in_order[: wanted.limit]
    is_more = len(in_order) > len(shown) or any(page.end is not None for page in pages)
    positions = [position for _, position in shown]
    return Page(
        records=[record for record, _ in shown],
        accesses=[],
        total=sum(page.total for page in pages),
        end=positions[-1] if is_more else None,
        positions=positions,
    )


def _place(position: PagePosition, wanted: PageQuery) -> tuple[bool, float, int]:
    """Return the key by which the engine sorts: missing values last, ties by `seq`."""
    value = position.value
    if value is None:
        return True, 0.0, position.seq
    return False, -value if wanted.order == "desc" else value, position.seq


MAX_CALL_S = 10.0
"""How long one call deletes. The answer says how many matches remain."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """How many memories matched, and how many are gone."""

    matched: int
    deleted: int


async def in_steps(step: Callable[[], Awaitable[int | None]]) -> AsyncIterator[int]:
    """Yield how many each step deleted, until one returns None (none are left) or time is up."""
    give_up_at = time.monotonic() + MAX_CALL_S
    while time.monotonic() < give_up_at and (deleted := await step()) is not None:
        yield deleted
