"""Reads whole partitions for an export, in the order in which memories were stored.

Each page is one FT.SEARCH over a window of `seq`, which numbers a partition's memories, and one
round trip for the hashes. Measured on 100,000 memories of 256 numbers in one partition: 0.5 ms of
Redis for a page of 500, 1.6 s for all. The same search without the window's upper end took 10 ms a
page. SCAN took 1.8 s, unordered, through the keys of every agent, with a cursor that a restarted
Redis forgets.

A walk yields every memory that existed when it began and was not deleted meanwhile, each once. A
memory stored meanwhile has a higher `seq` and is left out.

Concepts come with their earlier revisions and their counters, folded or not. The counters of
searches are stored beside the concepts' hashes under their `seq` (app/storage/access_counters.py),
which an import assigns again, so the hits of recent days, which retention needs, are exported with
the row.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from app import keys
from app.errors import (
    IndexRebuilding,
    StorageFailed,
    StorageLoading,
    StorageTimeout,
    StorageUnavailable,
)
from app.nodes.client import Client
from app.nodes.commands import Script, Words, ask_all, ask_each, ask_one, slices
from app.nodes.groups.placement import all_agents
from app.nodes.redis_errors import IndexMissing
from app.nodes.shard import Shards
from app.storage.access_counters import DAYS_KEPT, SECONDS_PER_DAY, day_of
from app.storage.index import Indexes, Partition
from app.storage.index_info import ask_indexes
from app.transfer.file_format import REV, SEQ, ConceptRevision, ExportRow, with_vectors
from app.vectors import VectorFormat

COUNT_BATCH = 50
MAX_WINDOW = 1_000_000
"""Where nearly everything was deleted, the window grows up to this many values of `seq`."""


class HashWalk:
    """Reads whole partitions from their masters. `now` returns unix seconds."""

    def __init__(
        self,
        shards: Shards,
        indexes: Indexes,
        *,
        timeout_ms: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._shards = shards
        self._indexes = indexes
        self._timeout_ms = timeout_ms
        self._now = now
        self._read_accesses = Script("read_accesses")

    async def agents(self) -> list[str]:
        """Return all agents that ever stored a memory, sorted."""
        names: set[str] = set()
        for shard in self._shards:
            found = await all_agents(shard.master.client)
            self._shards.learn(shard, found)
            names.update(found)
        return sorted(names)

    async def count(self, partitions: Sequence[Partition]) -> int:
        """Return how many memories these partitions' indexes hold. A missing one holds none.

        Raise StorageError, or IndexRebuilding while one of them is being built.
        """
        total = 0
        for shard, positions in self._shards.indices([p.counter for p in partitions]):
            asked = [(partitions[i].schema.alias, _count(partitions[i])) for i in positions]
            for some in slices(asked, COUNT_BATCH):
                for reply in await ask_indexes(shard.master, some):
                    if isinstance(reply, Exception) and not isinstance(reply, IndexMissing):
                        raise reply
                    total += reply[0] if isinstance(reply, list) else 0
        return total

    def _master_of(self, partition: Partition) -> Client:
        return self._shards.shard_of(partition.counter).master.client

    async def seq_of(self, partition: Partition, memory_id: str) -> int | None:
        """Return the `seq` of one memory. None if it does not exist."""
        seq = await ask_one(
            self._master_of(partition), "HGET", f"{partition.prefix}{memory_id}", SEQ
        )
        return None if seq is None else int(seq)

    async def pages(
        self, partition: Partition, *, after_seq: int, page_rows: int
    ) -> AsyncIterator[list[ExportRow]]:
        """Yield the partition's memories with a higher `seq`, at most `page_rows` at a time.

        Raise StorageError, or IndexRebuilding while the index is being built: it holds only a part.
        """
        last_seq = await self._last_seq(partition)
        low, width = after_seq + 1, page_rows
        while low <= last_seq:
            high = min(low + width - 1, last_seq)
            total, found = await self._find(partition, low, high, page_rows)
            page = await self._read(partition, found)
            if page:
                yield page
            if total <= len(found):
                low = high + 1
            elif page:
                low = page[-1].seq + 1
            if total < page_rows // 2:
                width = min(width * 2, MAX_WINDOW)
            elif total > page_rows:
                width = max(width // 2, page_rows)

    async def _last_seq(self, partition: Partition) -> int:
        """Return the highest `seq` of the partition, from its counter, or else from its index."""
        (seq,) = await ask_each(self._master_of(partition), [("HGET", partition.counter, SEQ)])
        if isinstance(seq, StorageUnavailable | StorageTimeout | StorageLoading):
            raise seq
        if not isinstance(seq, Exception):
            return int(seq or 0)
        # A foreign key stands in the counters' place, which must not end the export.
        newest: Words = (
            *("FT.SEARCH", partition.schema.alias, partition.query(), "SORTBY", SEQ, "DESC"),
            *("RETURN", 1, SEQ, "LIMIT", 0, 1, "DIALECT", 2, "TIMEOUT", self._timeout_ms),
        )
        reply = await self._ask_index(partition, newest)
        if isinstance(reply, Exception) and not isinstance(reply, IndexMissing):
            raise reply
        return int(reply[2][1]) if isinstance(reply, list) and len(reply) > 2 else 0

    async def _find(
        self, partition: Partition, low: int, high: int, limit: int
    ) -> tuple[int, list[bytes]]:
        """Return how many memories the window of `seq` holds, and the keys of the first of them."""
        command = (
            *("FT.SEARCH", partition.schema.alias, partition.query(f"@{SEQ}:[{low} {high}]")),
            *("NOCONTENT", "SORTBY", SEQ, "LIMIT", 0, limit),
            *("DIALECT", 2, "TIMEOUT", self._timeout_ms),
        )
        reply = await self._ask_index(partition, command)
        if isinstance(reply, IndexMissing):
            await self._indexes.heal(partition.schema)
            reply = await self._ask_index(partition, command)
        if isinstance(reply, IndexMissing):
            raise IndexRebuilding("The index was lost again: try again.", retry_after_s=1)
        if isinstance(reply, Exception):
            raise reply
        if not isinstance(reply, list):
            raise StorageFailed("FT.SEARCH answered in an unknown form: use a supported Redis.")
        return int(reply[0]), reply[1:]

    async def _ask_index(self, partition: Partition, command: Words) -> Any:
        """Return the reply or its error: IndexRebuilding from an index that is being built."""
        master = self._shards.shard_of(partition.counter).master
        (reply,) = await ask_indexes(master, [(partition.schema.alias, command)])
        return reply

    async def _read(self, partition: Partition, found: Sequence[bytes]) -> list[ExportRow]:
        """Return these hashes, without those deleted since they were found."""
        replies = await ask_all(self._master_of(partition), [("HGETALL", key) for key in found])
        page = [
            _whole_hash(partition, key, reply, self._indexes.stored_as)
            for key, reply in zip(found, replies, strict=True)
            if b"record" in reply  # a foreign hash has none
        ]
        if partition.agent_id is not None:
            return page
        today = day_of(self._now())
        return await with_accesses(
            self._master_of(partition), self._read_accesses, page, today=today
        )


def _count(partition: Partition) -> Words:
    query = partition.query()
    return ("FT.SEARCH", partition.schema.alias, query, "LIMIT", 0, 0, "DIALECT", 2)


def _whole_hash(
    partition: Partition, key: bytes, reply: dict[bytes, bytes], stored_as: VectorFormat
) -> ExportRow:
    stored = {name.decode(): value for name, value in reply.items()}
    seq = int(stored.pop(SEQ))
    stored.pop(REV, None)  # counted by the partition, as seq is
    fields = with_vectors(stored, stored_as.decode)
    memory_id = key.decode().removeprefix(partition.prefix)
    return ExportRow(partition.agent_id, memory_id, seq, fields)


READ_AT_ONCE = 50


class ConceptRevisions:
    """Reads concept revisions from their master (change_concept.lua writes them)."""

    def __init__(self, shards: Shards, stored_as: VectorFormat) -> None:
        self._shards = shards
        self._stored_as = stored_as

    async def of(self, concept: ExportRow) -> AsyncIterator[ExportRow]:
        """Yield the concept's earlier revisions that are kept, latest first. Raise StorageError.

        Changes after the concept was read are left out, and so are revisions that expire meanwhile.
        """
        of_changes = int(concept.fields.get("versions", b"0"))
        before = int(concept.fields.get("past_from", b"1")) - 1
        for last in range(of_changes, before, -READ_AT_ONCE):
            numbers = range(last, max(before, last - READ_AT_ONCE), -1)
            for number, (fields, expires_at) in zip(
                numbers, await self._read(concept.seq, numbers), strict=True
            ):
                if not fields or expires_at < 0:
                    continue
                stored = {name.decode(): value for name, value in fields.items()}
                del stored[SEQ]
                found = with_vectors(stored, self._stored_as.decode)
                changed_at = concept.fields["changed_at"].decode()
                former = ConceptRevision(number, of_changes, changed_at, expires_at)
                yield ExportRow(None, concept.memory_id, concept.seq, found, former=former)

    async def _read(self, seq: int, numbers: range) -> list[tuple[dict[bytes, bytes], int]]:
        """Return each revision's hash, empty for a missing one, and expiry time (unix seconds)."""
        past = [f"{keys.SEMANTIC_HISTORY}{seq}:{number}" for number in numbers]
        master = self._shards.shard_of(keys.SEMANTIC_PARTITION).master.client
        commands: list[Words] = []
        for key in past:
            commands += [("HGETALL", key), ("EXPIRETIME", key)]
        replies = await ask_all(master, commands)
        return list(zip(replies[::2], replies[1::2], strict=True))


_NO_PROCESS = keys.access_sent("export")
"""The script also reads what the calling process sent. An export sends nothing."""


async def with_accesses(
    node: Client, script: Script, concepts: Sequence[ExportRow], *, today: int
) -> list[ExportRow]:
    """Return these concepts with all their hits. `script` is read_accesses; `today` is from day_of.

    Hits that arrive while this reads may be missing. Raise StorageError.
    """
    if not concepts:
        return []
    ids = [concept.memory_id for concept in concepts]
    counters = (keys.ACCESS_UNFOLDED, keys.ACCESS_LAST, _NO_PROCESS)
    _, *flat = await script.run(node, [*counters, *map(keys.semantic_memory, ids)], ids)
    by_day = await _hits_by_day(node, [concept.seq for concept in concepts], today)
    counted = zip(concepts, flat[::3], flat[1::3], flat[2::3], by_day, strict=True)
    return [
        replace(
            concept,
            fields=concept.fields | {"access_count": count, "last_accessed": last},
            hits_by_day=hits,
        )
        if int(seq) == concept.seq
        else concept
        for concept, seq, count, last, hits in counted
    ]


async def _hits_by_day(
    node: Client, seqs: Sequence[int], today: int
) -> Sequence[Mapping[int, int]]:
    days = range(today - DAYS_KEPT, today + 1)
    replies = await ask_all(node, [("HMGET", keys.access_day(day), *seqs) for day in days])
    return [
        {day: int(reply[i]) for day, reply in zip(days, replies, strict=True) if reply[i]}
        for i in range(len(seqs))
    ]


def day_expires_at(day: int) -> int:
    """Return the unix time after which nothing needs the day's hits."""
    return (day + 1 + DAYS_KEPT) * SECONDS_PER_DAY
