"""Copies one agent's memory from one Redis to another, and proves that the copy is whole.

Hashes are copied field by field, so that nothing of a memory changes: its number, its times,
outcomes, ratings. What changes meanwhile is in the agent's change feed, which names the memories to
copy again.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from app import keys
from app.errors import IndexRebuilding, StorageFailed
from app.moves.guarded_part import GuardedPart
from app.moves.ledger import Copied
from app.nodes.client import Client, execute
from app.nodes.commands import Script, Words, ask_all, ask_each
from app.nodes.redis_errors import IndexMissing, translated
from app.storage.index import Indexes, Partition, retired_of
from app.storage.index_info import index_infos, unless_exists
from app.storage.schema import IndexSchema

PAGE = 100
"""Memories copied or compared at a time: some 2 ms of either Redis."""
PAUSE_FACTOR = 1.0
"""Each page is followed by a pause of this many times its duration, so that a move takes at most
half of one connection's time and other requests get their turn."""
ENTRIES = 200
TIMEOUT_MS = 5000


class FeedTrimmed(Exception):
    """Changes were trimmed from the feed before they were copied: the copy must begin again."""


class AgentCopy:
    """One agent's memory in its present Redis (`source`) and in the next one (`part`)."""

    def __init__(self, source: Client, part: GuardedPart, indexes: Indexes) -> None:
        agent_id = part.agent_id
        self._source = source
        self.part = part
        self._target = part.node
        self._schema = indexes.episodic(agent_id).as_("FLAT")
        self._prefix = keys.episodic_prefix(agent_id)
        self._partition = keys.episodic_partition(agent_id)
        self._stream = keys.episodic_changes(agent_id)
        self._retired = retired_of(indexes, agent_id)
        self._retirements = Script("raise_retirements")
        self._digest = Script("digest_memories")

    async def size(self) -> int:
        """Return how many memories the source counts. Raise StorageError."""
        with translated():
            return int(await execute(self._source, "HGET", self._partition, "memories") or 0)

    async def prepare(self) -> Copied:
        """Empty the target of an earlier attempt, create the index there, and note where the feed
        is. Raise StorageError."""
        began_at = time.time()
        await erase(self.part, self._schema, self._retired)
        for schema in (self._schema, self._retired.schema):
            await unless_exists(self._target, schema.create_command(scan=False))
            await unless_exists(self._target, ("FT.ALIASADD", schema.alias, schema.name))
        with translated():
            last = await execute(self._source, "XREVRANGE", self._stream, "+", "-", "COUNT", 1)
        await self.copy_counters()
        return Copied(last[0][0].decode() if last else "0-0", began_at)

    async def has_begun(self) -> bool:
        """Return whether the target still has what `prepare` left there.

        Raise IndexRebuilding while it builds the index again, which could not be counted, or
        StorageError.
        """
        with translated():
            is_there = await execute(self._target, "EXISTS", self._partition)
        names = (self._schema.name, self._retired.schema.name)
        for info in (await index_infos(self._target, names)).values():
            if not is_there or info is None:
                return False
            if not info.is_complete:
                raise IndexRebuilding(
                    f"The next group builds the index of agent {self.part.agent_id} again.",
                    retry_after_s=1,
                )
        return True

    async def copy_all(self, copied: Copied) -> AsyncIterator[None]:
        """Copy the memories after `copied`, and move that on with each page; yield after each.

        Raise StorageError.
        """
        async for page, last in self._pages(after=copied.seq):
            began_s = time.monotonic()
            await self._copy(page)
            copied.seq, copied.memories = last, copied.memories + len(page)
            yield
            await asyncio.sleep(PAUSE_FACTOR * (time.monotonic() - began_s))

    async def catch_up(self, copied: Copied) -> list[str]:
        """Copy some of what changed after the position, and move the position on.

        Return the keys. Empty: nothing had changed. Raise FeedTrimmed or StorageError.
        """
        after = copied.position
        commands: list[Words] = [
            ("XRANGE", self._stream, after, after),
            ("XRANGE", self._stream, "-" if after == "0-0" else f"({after}", "+", "COUNT", ENTRIES),
        ]
        there, entries = await ask_all(self._source, commands)
        if after != "0-0" and not there:
            raise FeedTrimmed
        changed = dict.fromkeys(
            f"{self._prefix}{name}"
            for _, fields in entries
            for ids in fields.values()
            for name in ids.decode().split("\n")
            if name
        )
        names = list(changed)
        await self.copy_again(names)
        if entries:
            copied.position = entries[-1][0].decode()
        return names

    async def copy_counters(self) -> list[str]:
        """Copy the partition's counters, and the distances learned from the memories, whose records
        hold the partition's `born`. Return the keys. Raise StorageError."""
        both = [self._partition, keys.episodic_distances(self.part.agent_id)]
        await self._copy(both)
        return both

    async def copy_retired(self, *, since: float = 0.0) -> list[str]:
        """Copy the experiences that retired at this moment or later (unix seconds), the moments of
        retirements, and the number that a new partition would continue from. Return the keys.

        Raise StorageError."""
        copied: list[str] = []
        async for page in retired_keys(self._source, self._retired, since):
            await self._copy(page)
            copied += page
        own = f"purged:{self.part.agent_id}"
        commands: list[Words] = [
            ("HGET", self._partition, "retired_until"),
            ("HGET", keys.RETIREMENTS, own),
            ("GET", keys.LAST_SEQ),
        ]
        until, purged, last_seq = await ask_all(self._source, commands)
        known = {"newest": until, "purged": purged, own: purged}
        words = [word for item in known.items() if item[1] is not None for word in item]
        both = [keys.RETIREMENTS, keys.LAST_SEQ]
        await self._retirements.run(self._target, both, [last_seq or 0, *words])
        return copied

    async def retired_counts(self) -> tuple[int, int]:
        """Return how many retired experiences the index of each side holds. Raise StorageError."""
        query = self._retired.query()
        alias = self._retired.schema.alias
        return (
            await count_indexed(self._source, alias, query),
            await count_indexed(self._target, alias, query),
        )

    async def copy_decisions(self) -> None:
        """Copy decisions and what came of them, with the moments at which they expire."""
        for key in (keys.decisions(self.part.agent_id), keys.uplift(self.part.agent_id)):
            with translated():
                names = await execute(self._source, "HKEYS", key)
            if not names:
                await self.part.remove([key])
                continue
            commands: list[Words] = [
                ("HMGET", key, *names),
                ("HPEXPIRETIME", key, "FIELDS", len(names), *names),
                ("PEXPIRETIME", key),
            ]
            values, moments, whole = await ask_all(self._source, commands)
            fields = [
                (name, value, moment)
                for name, value, moment in zip(names, values, moments, strict=True)
                if value is not None
            ]
            await self.part.write_expiring(key, fields, whole)

    async def begin_feed(self) -> None:
        """Begin the feed at the target. Raise AttemptEnded or StorageError."""
        await self.part.begin_feed()

    async def differing(self) -> list[str]:
        """Compare every memory. Return the keys of those that are not the same on both sides.

        Raise StorageError.
        """
        found: list[str] = []
        async for page, _ in self._pages():
            began_s = time.monotonic()
            found += await self.differing_of(page)
            await asyncio.sleep(PAUSE_FACTOR * (time.monotonic() - began_s))
        return found

    async def differing_of(self, names: Sequence[str]) -> list[str]:
        """Return which of these keys do not hold the same on both sides. Raise StorageError."""
        found: list[str] = []
        for start in range(0, len(names), PAGE):
            page = names[start : start + PAGE]
            mine = await self._digest.run(self._source, page, ())
            other = await self._digest.run(self._target, page, ())
            found += [n for n, a, b in zip(page, mine, other, strict=True) if a != b]
        return found

    async def counts(self) -> tuple[int, int, int]:
        """Return what the source's counter says, and what the index of each side holds."""
        return (
            await self.size(),
            await count_indexed(self._source, self._schema.alias),
            await count_indexed(self._target, self._schema.alias),
        )

    async def copy_again(self, names: Sequence[str]) -> None:
        """Copy these keys again. Raise StorageError."""
        for start in range(0, len(names), PAGE):
            await self._copy(names[start : start + PAGE])

    async def _pages(self, after: int = 0) -> AsyncIterator[tuple[list[str], int]]:
        """Yield the keys of all memories with higher numbers, in the order in which they were
        stored, each page with the number up to which it goes."""
        with translated():
            last = int(await execute(self._source, "HGET", self._partition, "seq") or 0)
        low = after + 1
        width = PAGE
        while low <= last:
            query = f"@seq:[{low} {low + width - 1}]"
            found = await found_keys(self._source, self._schema.alias, query, PAGE + 1)
            if len(found) > PAGE:
                width = max(1, width // 2)
                continue
            if found:
                yield found, low + width - 1
            low += width
            width = width * 2 if len(found) <= PAGE // 2 else width

    async def _copy(self, names: Sequence[str]) -> None:
        """Make these keys at the target what they are at the source."""
        reads: list[Words] = [("HGETALL", name) for name in names]
        hashes = await ask_all(self._source, reads)
        await self.part.write(dict(zip(names, hashes, strict=True)))


async def found_keys(node: Client, index: str, query: str, limit: int) -> list[str]:
    """Return the keys of at most `limit` memories that match; none without an index."""
    command: Words = (
        *("FT.SEARCH", index, query, "NOCONTENT", "SORTBY", "seq", "ASC"),
        *("LIMIT", 0, limit, "DIALECT", 2, "TIMEOUT", TIMEOUT_MS),
    )
    return [key.decode() for key in (await _found(node, command))[1:]]


async def retired_keys(node: Client, retired: Partition, since: float) -> AsyncIterator[list[str]]:
    """Yield the keys of an agent's experiences that retired at this moment or later, in pages."""
    low = 0
    while True:
        query = retired.query(f"@retired_at:[{since!r} +inf]", f"@seq:[({low} +inf]")
        found = await found_keys(node, retired.schema.alias, query, PAGE)
        if not found:
            return
        yield found
        low = int(found[-1].rpartition(":")[2])


async def count_indexed(node: Client, index: str, query: str = "*") -> int:
    """Return how many memories this index holds; none without an index."""
    command: Words = ("FT.SEARCH", index, query, "LIMIT", 0, 0, "DIALECT", 2)
    return int((await _found(node, command))[0])


async def _found(node: Client, command: Words) -> list[Any]:
    """Return the reply to an FT.SEARCH. Without an index nothing is found."""
    (reply,) = await ask_each(node, [command])
    if isinstance(reply, IndexMissing):
        return [0]
    if isinstance(reply, Exception):
        raise reply
    return list(reply)


async def erase(part: GuardedPart, schema: IndexSchema, retired: Partition) -> None:
    """Remove everything of an agent from one Redis. May be repeated.

    The counters and the index's alias go first, so that a process that still asks here finds either
    everything or nothing, and then asks where the agent is. Raise AttemptEnded or StorageError.
    """
    node, agent_id = part.node, part.agent_id
    rest = (
        *(keys.episodic_partition(agent_id), keys.episodic_changes(agent_id)),
        *(keys.decisions(agent_id), keys.uplift(agent_id), keys.episodic_distances(agent_id)),
    )
    await part.remove(rest, removes_name=True)
    await _remove_alias(node, schema.alias)
    indexes = [schema.as_(algorithm).name for algorithm in ("FLAT", "HNSW")]
    for index in indexes:
        await _erase_indexed(part, index)
    async for page in retired_keys(node, retired, 0.0):
        await part.remove(page)
    for reply in await ask_each(node, [("FT.DROPINDEX", index) for index in indexes]):
        if isinstance(reply, Exception) and not isinstance(reply, IndexMissing):
            raise reply


async def _remove_alias(node: Client, alias: str) -> None:
    """Remove an alias, which may be gone already. Raise StorageError."""
    _, info = await ask_each(node, [("FT.ALIASDEL", alias), ("FT.INFO", alias)])
    if not isinstance(info, IndexMissing):
        raise info if isinstance(info, Exception) else StorageFailed(f"{alias} cannot be removed.")


async def _erase_indexed(part: GuardedPart, index: str) -> None:
    before = -1
    while found := await found_keys(part.node, index, "*", PAGE):
        left = await count_indexed(part.node, index)
        if left == before:
            raise StorageFailed(
                f"Agent {part.agent_id}'s former copy cannot be removed: see the log."
            )
        before = left
        await part.remove(found)
        await asyncio.sleep(0.001)
