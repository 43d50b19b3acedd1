"""Writes, reads and deletes single memories of either kind on the master.

A memory is one hash. Its field `record` is the memory as JSON without vectors, which is returned
digit for digit (the engine would return 12 digits of a sortable number). The other fields are what
the index needs, derived from the same values in the same write.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from app import keys
from app.errors import (
    ContentConflict,
    DurabilityNotReached,
    IndexRebuilding,
    MemoryServiceError,
    QuotaReached,
    StorageFailed,
)
from app.model import Stored
from app.nodes.commands import Script, ask_all, slices
from app.nodes.moving import MOVE_PAUSE_S, MOVE_WAIT_S
from app.nodes.node import RedisNode
from app.nodes.reads import Guards, ReadRouter
from app.nodes.redis_errors import AgentMoving, ScriptMissing, as_error, translated
from app.nodes.shard import Shard, Shards
from app.nodes.writes import NO_WAITING, MasterWriter, Waiting
from app.vectors import VectorFormat

CREATED, UNCHANGED, CONFLICT, TOO_MANY, TOO_LARGE, NO_INDEX = 1, 0, -1, -2, -3, -4
SIZED_FIELDS = ("record", "state_vector", "next_state_vector", "concept_vector")
"""Fields that count as a memory's bytes; the others are derived from these."""
FEED_ENTRIES = 10_000
"""How many entries of each agent's changes are kept by default."""
SCRIPT_BATCH = 32
"""Memories per call of the store script, which blocks Redis for about half a millisecond."""

FieldValue = str | bytes | int | float
Change = Literal["outcome", "rating"]


class IndexGone(IndexRebuilding):
    """The index was removed with its agent's last memory while another memory arrived."""


def index_gone(partition: str) -> IndexGone:
    """Return the error for a memory of this partition, which was not stored."""
    return IndexGone(
        f"The index of {partition} was removed during the store: try again.", retry_after_s=1
    )


_NOT_SENT = StorageFailed("This memory was not sent to Redis.")


@dataclass(slots=True)
class StoreCommand:
    """One memory on its way to Redis: its keys, and the hash as it will be.

    `index` is the alias of the index that must exist if the partition is new; empty requires none.
    """

    memory_id: str
    key: str
    partition: str
    digest: bytes
    fields: dict[str, FieldValue]
    index: str = ""

    @property
    def size_bytes(self) -> int:
        """Return the bytes that count against a quota."""
        size = 0
        for name in SIZED_FIELDS:
            value = self.fields.get(name)
            if isinstance(value, bytes):
                size += len(value)
        return size


@dataclass(frozen=True, slots=True)
class Quota:
    """The most that a partition may hold. 0 means no limit."""

    memories: int = 0
    bytes: int = 0


NO_QUOTA = Quota()


@dataclass(frozen=True, slots=True)
class StoredHash:
    """One memory as read: its record (JSON bytes) and its vectors by field name."""

    record: bytes
    vectors: dict[str, bytes]


def decoded(found: StoredHash | None, stored_as: VectorFormat) -> StoredHash | None:
    """Return the same memory with its vectors as float32 bytes."""
    if found is None:
        return None
    return replace(found, vectors={n: stored_as.decode(raw) for n, raw in found.vectors.items()})


class MemoryStore:
    """Stores memories on the masters. Both kinds share it; they differ in keys and fields.

    `invalidate` is called with each partition's key when a write to it may have happened; other
    processes learn of it through the change channel. `feed_entries` of each agent's changes are
    kept.
    """

    def __init__(
        self,
        shards: Shards,
        reads: ReadRouter,
        *,
        guards: Guards,
        invalidate: Callable[[str], None],
        waiting: Waiting = NO_WAITING,
        feed_entries: int = FEED_ENTRIES,
    ) -> None:
        self.shards = self._shards = shards
        self.feed_entries = feed_entries
        self._reads = reads
        self._writer = MasterWriter(shards, guards=guards, invalidate=invalidate, waiting=waiting)
        self._store_script = Script("store_memories")
        self._update_script = Script("update_memory")
        self._delete_script = Script("delete_memories")

    async def store_many(
        self,
        commands: Sequence[StoreCommand],
        *,
        quota: Quota = NO_QUOTA,
    ) -> tuple[list[Stored | MemoryServiceError], str]:
        """Store each memory or return its error, in order; also return the token that covers them.

        Several shards store their parts concurrently. The token then belongs to one of them; a
        question with it to another shard is answered by that shard's master, which has everything.

        `quota` applies to each partition. Raise StorageError if nothing is known of the result;
        repeating the call is safe.
        """
        outcomes, token = await self._store_in_parts(commands, quota)
        give_up_at = time.monotonic() + MOVE_WAIT_S
        while time.monotonic() < give_up_at:
            held = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, AgentMoving)]
            if not held:
                break
            await self._look_again({commands[i].partition for i in held})
            again, later = await self._store_in_parts([commands[i] for i in held], quota)
            for i, outcome in zip(held, again, strict=True):
                outcomes[i] = outcome
            token = later or token
        if not token and isinstance(outcomes[0], MemoryServiceError):
            raise outcomes[0]
        return outcomes, token

    async def _look_again(self, partitions: Iterable[str]) -> None:
        """Wait a moment while agents move, then ask for their places."""
        await asyncio.sleep(MOVE_PAUSE_S)
        for partition in partitions:
            await self._shards.look_again(partition)

    async def _store_in_parts(
        self, commands: Sequence[StoreCommand], quota: Quota
    ) -> tuple[list[Stored | MemoryServiceError], str]:
        outcomes: list[Stored | MemoryServiceError] = [_NOT_SENT] * len(commands)

        async def store(shard: Shard, positions: Sequence[int]) -> str:
            mine = [commands[i] for i in positions]
            try:
                stored, token = await self._store_on(shard.master, mine, quota)
            except MemoryServiceError as error:
                stored, token = [error] * len(mine), ""
            for i, outcome in zip(positions, stored, strict=True):
                outcomes[i] = outcome
            return token

        parts = self._shards.indices([command.partition for command in commands])
        if len(parts) == 1:
            token = await store(*parts[0])
        else:
            tokens = await asyncio.gather(*(store(*part) for part in parts))
            token = next((token for token in tokens if token), "")
        return outcomes, token

    async def _store_on(
        self,
        node: RedisNode,
        commands: Sequence[StoreCommand],
        quota: Quota,
    ) -> tuple[list[Stored | MemoryServiceError], str]:
        replies, token = await self._send(node, commands, quota)
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, ScriptMissing)]
        if missing:
            with translated():
                await self._store_script.load(node.client)
            again, token = await self._send(node, [commands[i] for i in missing], quota)
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        return [_outcome(c, r, token) for c, r in zip(commands, replies, strict=True)], token

    async def _master_of(self, partition: str) -> RedisNode:
        return (await self._shards.locate(partition)).master

    async def _send(
        self,
        node: RedisNode,
        commands: Sequence[StoreCommand],
        quota: Quota,
    ) -> tuple[list[object], str]:
        """Return the script's reply to each command, and the token."""
        groups = _script_groups(commands)
        calls = [self._store_call([commands[i] for i in group], quota) for group in groups]
        partitions = {command.partition for command in commands}
        before = names_entered(command.partition for command in commands)
        written = [command.key for command in commands]
        replies, token = await self._writer.write(node, [*before, *calls], partitions, written)
        for reply in replies[: len(before)]:
            if isinstance(reply, Exception):
                raise reply
        each: list[object] = [None] * len(commands)
        for group, reply in zip(groups, replies[len(before) :], strict=True):
            own = reply if isinstance(reply, list) else [reply] * len(group)
            for i, result in zip(group, own, strict=True):
                each[i] = as_error(result)
        return each, token

    def _store_call(self, commands: Sequence[StoreCommand], quota: Quota) -> tuple[FieldValue, ...]:
        """Return one call of the store script, for memories of one partition."""
        forms: dict[tuple[str, ...], int] = {}
        values: list[FieldValue] = []
        for command in commands:
            form = forms.setdefault(tuple(command.fields), len(forms) + 1)
            values += (form, command.digest, command.size_bytes, *command.fields.values())
        wanted = [commands[0].partition, *(command.key for command in commands)]
        limits = (quota.memories, quota.bytes, commands[0].index, self.feed_entries)
        call: list[FieldValue] = [len(wanted), *wanted, *limits, len(forms)]
        for fields in forms:
            call += [len(fields), *fields]
        return ("EVALSHA", self._store_script.sha, *call, *values)

    async def confirm(self, partition: str, *, history: str | None = None) -> None:
        """Wait until this partition has the requested durability.

        Used where nothing had to be written, and for what was written beside the memories into data
        of this `history`. Raise StorageError.
        """
        if not self._writer.waits:
            return
        node = await self._master_of(partition)
        _, token = await self._writer.write(node, (), [partition], ())
        if history not in {None, token.partition(":")[0]}:
            raise DurabilityNotReached(
                f"The write may exist, but the Redis node {node.name} was replaced: repeat it.",
                retry_after_s=1,
            )

    async def fetch(self, key: str, vector_fields: Sequence[str]) -> StoredHash | None:
        """Return one memory with its vectors as stored. None if the key does not exist."""
        command = ("HMGET", key, "record", *vector_fields)
        ((record, *raw),) = await self._reads.read(key, lambda node: ask_all(node, [command]))
        if record is None:
            await self._shards.require_here(key)
            return None
        vectors = {f: v for f, v in zip(vector_fields, raw, strict=True) if v is not None}
        return StoredHash(record, vectors)

    async def update(
        self, key: str, partition: str, record: bytes, fields: dict[str, FieldValue], *, by: Change
    ) -> str | None:
        """Set fields of a memory if its record is still the given one. `by`: what the feed says.

        Return the token. None if the memory was changed or deleted since it was read.
        """
        arguments = [record, self.feed_entries, by, *_words(fields)]
        changed, token = await self.run(
            self._update_script, [key, partition], arguments, partition, written=[key]
        )
        return token if changed else None

    async def fetch_records(self, keys: Sequence[str], partition: str) -> list[bytes | None]:
        """Return the records of memories of one partition, in order, in one round trip."""
        commands = [("HGET", key, "record") for key in keys]
        found: list[bytes | None] = await self._reads.read(
            partition, lambda node: ask_all(node, commands)
        )
        return found

    async def update_many(
        self,
        updates: Mapping[str, tuple[bytes, dict[str, FieldValue]]],
        partition: str,
        *,
        by: Change,
    ) -> tuple[list[bool], str]:
        """Update many memories of one partition, as `update` does, in one round trip.

        Return for each, in order, whether it had not changed since it was read. Raise the first
        error.
        """
        fixed = (self.feed_entries, by)
        commands: list[tuple[FieldValue, ...]] = [
            (2, key, partition, record, *fixed, *_words(fields))
            for key, (record, fields) in updates.items()
        ]
        replies, token = await self._run_each(self._update_script, commands, partition, [*updates])
        return [bool(reply) for reply in replies], token

    async def _run_each(
        self,
        script: Script,
        calls: Sequence[tuple[FieldValue, ...]],
        partition: str,
        written: Sequence[str | bytes],
    ) -> tuple[list[object], str]:
        """Run a script with each of these arguments in one round trip, in one partition.

        Calls that a move of the agent held back are repeated. Return the replies and the token.
        Raise the first other error.
        """
        replies: list[object] = [None] * len(calls)
        left, token = list(range(len(calls))), ""
        give_up_at = time.monotonic() + MOVE_WAIT_S
        while left:
            node = await self._master_of(partition)
            commands = [("EVALSHA", script.sha, *calls[i]) for i in left]
            found, token = await self._writer.write(node, commands, [partition], written)
            if any(isinstance(reply, ScriptMissing) for reply in found):
                with translated():
                    await script.load(node.client)
                found, token = await self._writer.write(node, commands, [partition], written)
            for i, reply in zip(left, found, strict=True):
                replies[i] = reply
            left = [i for i in left if isinstance(replies[i], AgentMoving)]
            if left and time.monotonic() > give_up_at:
                break
            if left:
                await self._look_again([partition])
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies, token

    async def run(
        self,
        script: Script,
        keys: Sequence[FieldValue],
        arguments: Sequence[FieldValue],
        partition: str,
        *,
        written: Sequence[str | bytes] = (),
    ) -> tuple[Any, str]:
        """Run a script that writes to one partition. Return its reply and the token.

        `written` are the keys of the memories that it changes.
        """
        calls = [(len(keys), *keys, *arguments)]
        (reply,), token = await self._run_each(script, calls, partition, written)
        return reply, token

    async def delete(
        self, keys: Sequence[bytes | str], partition: str, *, retired_at: float | None = None
    ) -> int:
        """Delete memories of one partition, or retire experiences. Return how many existed.

        Deleting an agent's last memory also removes its index, name and counters in the same step.
        """
        deleted, _ = await self.run(
            self._delete_script,
            [partition, *keys],
            [self.feed_entries, "" if retired_at is None else repr(retired_at)],
            partition,
            written=keys,
        )
        return int(deleted)


def names_entered(partitions: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the command that enters the agents of these partitions in their shard's set of names.

    Sent ahead of every store, in case somebody emptied the set.
    """
    agents = sorted({owner for one in partitions if (owner := keys.partition_owner(one))})
    return [("SADD", keys.AGENTS, *agents)] if agents else []


def _script_groups(commands: Sequence[StoreCommand]) -> list[Sequence[int]]:
    """Return the indices of commands that share a call of the script: one partition, in order."""
    of_partition: dict[str, list[int]] = {}
    for i, command in enumerate(commands):
        of_partition.setdefault(command.partition, []).append(i)
    return [part for own in of_partition.values() for part in slices(own, SCRIPT_BATCH)]


def _words(fields: Mapping[str, FieldValue]) -> list[FieldValue]:
    return [word for field in fields.items() for word in field]


def _outcome(command: StoreCommand, reply: object, token: str) -> Stored | MemoryServiceError:
    if reply in (CREATED, UNCHANGED):
        return Stored(command.memory_id, "created" if reply == CREATED else "unchanged", token)
    if reply == CONFLICT:
        return ContentConflict(
            f"The id {command.memory_id} holds a memory with different content: choose another id.",
            field="id",
        )
    if reply in (TOO_MANY, TOO_LARGE):
        what = "memories" if reply == TOO_MANY else "bytes"
        return QuotaReached(
            f"This agent's memory has reached its limit of {what}: delete memories, or have the "
            "limit raised."
        )
    if reply == NO_INDEX:
        return index_gone(command.partition)
    if isinstance(reply, MemoryServiceError):
        return reply
    return StorageFailed("The store script gave an unexpected reply: see the service's log.")
