"""Writing, reading and deleting single memories, of either kind, on the master.

A memory is one hash. Its field `record` is the memory as JSON without vectors: what is returned,
digit for digit (the engine would give 12 digits of a sortable number). The fields beside it are
what the index needs, derived from the same values in the same write.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import redis.exceptions as foreign
from redis.asyncio import Redis

from app.errors import ContentConflict, MemoryServiceError, StorageFailed
from app.records import Stored
from app.storage.change_channel import CHANNEL
from app.storage.client import execute
from app.storage.readable import Guard, ReadableNodes
from app.storage.redis_errors import ScriptMissing, translate, translated
from app.storage.replication import INFO_COMMAND, token_of
from app.storage.scripts import Script

CREATED, UNCHANGED, CONFLICT = 1, 0, -1

FieldValue = str | bytes | int | float


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """One memory on its way to Redis: its keys, and the hash as it will be."""

    memory_id: str
    key: str
    partition: str
    digest: bytes
    fields: dict[str, FieldValue]


@dataclass(frozen=True, slots=True)
class StoredHash:
    """One memory as read: its record (JSON bytes) and its vectors by field name."""

    record: bytes
    vectors: dict[str, bytes]


class MemoryStore:
    """Stores memories on one master. Both kinds share it; they differ in keys and fields.

    `moved` is told each partition's key when a write to it may have happened; other processes hear
    of it through the change channel.
    """

    def __init__(
        self,
        master: Redis,
        readable: ReadableNodes,
        *,
        guard: Guard,
        moved: Callable[[str], None],
    ) -> None:
        self._master = master
        self._readable = readable
        self._guard = guard
        self._moved = moved
        self._store_script = Script("store_memory")
        self._update_script = Script("update_memory")

    async def store_many(
        self,
        commands: Sequence[StoreCommand],
        *,
        before: Sequence[tuple[str | bytes, ...]] = (),
    ) -> tuple[list[Stored | MemoryServiceError], str]:
        """Store each memory or say why not, in order; and the token that covers them.

        `before` are commands that go first in the same round trip. Raises StorageError when
        nothing is known of the outcome; repeating the call is safe.
        """
        replies, info = await self._send(commands, before)
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, ScriptMissing)]
        if missing:
            with translated():
                await self._store_script.load(self._master)
            again, info = await self._send([commands[i] for i in missing], ())
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        token = token_of(info)
        return [_outcome(c, r, token) for c, r in zip(commands, replies, strict=True)], token

    async def _send(
        self, commands: Sequence[StoreCommand], before: Sequence[tuple[str | bytes, ...]]
    ) -> tuple[list[object], object]:
        stores = [
            (
                *("EVALSHA", self._store_script.sha, 2, command.key, command.partition),
                command.digest,
                *(word for field in command.fields.items() for word in field),
            )
            for command in commands
        ]
        partitions = {command.partition for command in commands}
        replies = await self._write([*before, *stores], partitions)
        for reply in (*replies[: len(before)], replies[-1]):
            if isinstance(reply, Exception):
                raise reply
        return replies[len(before) : -1], replies[-1]

    async def _write(
        self, commands: Sequence[tuple[FieldValue, ...]], partitions: Iterable[str]
    ) -> list[object]:
        """Send commands, tell everyone which partitions moved, and ask how far the master is.

        The replies to the commands, errors in their places, and last the one to INFO_COMMAND.
        """
        told = sorted(partitions)
        pipeline = self._master.pipeline(transaction=False)
        for words in commands:
            pipeline.execute_command(*words)
        for partition in told:
            pipeline.execute_command("PUBLISH", CHANNEL, partition)
        pipeline.execute_command(*INFO_COMMAND)
        try:
            with self._guard(), translated():
                replies = await pipeline.execute(raise_on_error=False)
        finally:
            # Also when the outcome is unknown: the write may have happened.
            for partition in told:
                self._moved(partition)
        replies = [translate(r) if isinstance(r, foreign.RedisError) else r for r in replies]
        return [*replies[: len(commands)], replies[-1]]

    async def fetch(self, key: str, vector_fields: Sequence[str]) -> StoredHash | None:
        """One memory, or None when there is none under this key."""
        record, *raw = await self._readable.read(
            lambda node: _translated(execute(node, "HMGET", key, "record", *vector_fields))
        )
        if record is None:
            return None
        vectors = {f: v for f, v in zip(vector_fields, raw, strict=True) if v is not None}
        return StoredHash(record, vectors)

    async def update(
        self, key: str, partition: str, record: bytes, fields: dict[str, FieldValue]
    ) -> str | None:
        """Set fields of a memory, if its record is still the given one.

        Returns the token; None when the memory changed or went since it was read.
        """
        words = [word for field in fields.items() for word in field]
        command = ("EVALSHA", self._update_script.sha, 1, key, record, *words)
        changed, info = await self._write([command], [partition])
        if isinstance(changed, ScriptMissing):
            with translated():
                await self._update_script.load(self._master)
            changed, info = await self._write([command], [partition])
        for reply in (changed, info):
            if isinstance(reply, Exception):
                raise reply
        return token_of(info) if changed else None

    async def delete(self, keys: Sequence[bytes | str], partition: str) -> int:
        """Delete memories of one partition; how many there were."""
        deleted, _ = await self._write([("UNLINK", *keys)], [partition])
        if isinstance(deleted, Exception):
            raise deleted
        return int(str(deleted))


async def _translated(call: Awaitable[Any]) -> Any:
    with translated():
        return await call


def _outcome(command: StoreCommand, reply: object, token: str) -> Stored | MemoryServiceError:
    if reply == CREATED:
        return Stored(command.memory_id, "created", token)
    if reply == UNCHANGED:
        return Stored(command.memory_id, "unchanged", token)
    if reply == CONFLICT:
        return ContentConflict(
            f"The id {command.memory_id} holds a memory with other content: choose another id.",
            field="id",
        )
    if isinstance(reply, MemoryServiceError):
        return reply
    return StorageFailed("The store script answered in an unknown form: see the service's log.")
