"""An agent's changes in Redis: one stream each, written by the scripts that make the changes.

https://redis.io/docs/latest/develop/data-types/streams/
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app import keys
from app.errors import PositionLost
from app.feed.position import Position
from app.nodes.commands import Script, ask_all
from app.nodes.history import INFO_COMMAND, token_of
from app.nodes.reads import ReadRouter
from app.nodes.shard import Shards
from app.storage.episodic import VECTOR_FIELDS
from app.storage.memories import StoredHash
from app.vectors import VectorFormat

FIELDS = 5
"""Fields of each memory in a script's reply."""

MAX_BYTES = 4_000_000
"""Size of the memories in one reading: a few milliseconds of Redis's time."""


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """A memory that changed, as it is now. None if it was deleted. `seq`: its place in the order of
    storing."""

    id: str
    memory: StoredHash | None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What changed after a position, each memory once. `is_all`: nothing more had changed.

    `retired_until`: the latest moment (unix seconds) at which a memory retired. A copy of the
    present memories cannot answer questions as of an earlier one.
    """

    changes: list[FeedEntry]
    next: Position
    is_all: bool
    retired_until: float | None = None


class ChangeStreams:
    """Reads the feeds of all agents. `entries` of each are kept."""

    def __init__(
        self, shards: Shards, reads: ReadRouter, stored_as: VectorFormat, *, entries: int
    ) -> None:
        self._shards = shards
        self._reads = reads
        self._stored_as = stored_as
        self._entries = entries
        self._begin = Script("begin_feed")
        self._read = Script("read_changes")

    async def begin(self, agent_id: str) -> Position:
        """Return a position such that a copy made from now on has every change up to it.

        It is valid in this history only. Raise StorageError.
        """
        master = (await self._shards.locate_group(agent_id)).master
        stream, partition = keys.episodic_changes(agent_id), keys.episodic_partition(agent_id)
        found, history = await self._begin.run_in_history(
            master.client, [stream, partition], [self._entries]
        )
        return Position(history, found.decode())

    async def history(self, agent_id: str) -> str:
        """Return the replication id of the data that holds this agent's memory now."""
        node = (await self._shards.locate_group(agent_id)).master.client
        (info,) = await ask_all(node, [INFO_COMMAND])
        return token_of(info).partition(":")[0]

    async def read(self, agent_id: str, position: Position, limit: int) -> Reading:
        """Return what changed after a position: about `limit` memories, as they are now.

        Raise PositionLost if entries after it were trimmed, or if the reader may have seen changes
        that a failover lost. Raise StorageError.
        """
        partition = keys.episodic_partition(agent_id)
        prefix = keys.episodic_prefix(agent_id)
        wanted: list[str | int] = [position.after, position.seen, position.digest]
        reply = await self._reads.read(
            partition,
            lambda node: self._read.run(
                node,
                [keys.episodic_changes(agent_id), partition],
                [*wanted, limit, MAX_BYTES, prefix],
            ),
        )
        is_kept, is_proven, after, last, digest, replication_id, retired, *flat = reply
        history = replication_id.decode()
        if not is_kept or not (is_proven or history == position.history):
            raise PositionLost(
                "after: changes after this position are no longer kept, or were lost in a "
                "failover: take a new snapshot.",
                field="after",
            )
        found = Position(history, after.decode(), last.decode(), digest.decode())
        return Reading(
            self._changes(flat),
            found,
            is_all=after == last,
            retired_until=None if retired is None else float(retired),
        )

    def _changes(self, flat: Sequence[bytes | None]) -> list[FeedEntry]:
        parts = zip(*(flat[place::FIELDS] for place in range(FIELDS)), strict=True)
        return [
            FeedEntry(
                (name or b"").decode(),
                self._memory(record, *raw),
                None if seq is None else int(seq),
            )
            for name, record, *raw, seq in parts
        ]

    def _memory(self, record: bytes | None, *raw: bytes | None) -> StoredHash | None:
        if record is None:
            return None
        named = zip(VECTOR_FIELDS, raw, strict=True)
        vectors = {n: self._stored_as.decode(value) for n, value in named if value is not None}
        return StoredHash(record, vectors)
