"""Reads all memories of an agent page by page, with a position from which the feed continues."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from app.auth.limits import AgentAdmission
from app.errors import InvalidInput, PositionLost
from app.feed.position import Position, parse_position
from app.feed.stream import ChangeStreams
from app.memory.questions import refuse_present
from app.storage.episodic import VECTOR_FIELDS
from app.storage.index import Indexes, partition_of
from app.storage.memories import StoredHash
from app.transfer.read_memory import HashWalk

PAGE_ROWS = 250
"""Memories read and encoded at a time: some 3 ms of the event loop."""
_MARK = "~"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot in progress: where it began, and the last memory that was returned."""

    agent_id: str
    position: Position
    after_seq: int

    def cursor(self, seq: int) -> str:
        """Return the cursor for the rest after this memory."""
        return f"{seq}{_MARK}{self.position}"


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """Some memories. `cursor` requests the rest; empty at the end."""

    memories: list[StoredHash]
    cursor: str


class SnapshotOperations:
    """Reads whole memories of agents."""

    def __init__(
        self, streams: ChangeStreams, walk: HashWalk, indexes: Indexes, admit: AgentAdmission
    ) -> None:
        self._streams = streams
        self._walk = walk
        self._indexes = indexes
        self._admit = admit

    async def begin(self, agent_id: str, cursor: str | None) -> Snapshot:
        """Begin or continue a snapshot. Raise PositionLost, InvalidInput or StorageError."""
        await self._admit(agent_id)
        refuse_present("a snapshot")
        if cursor is None:
            return Snapshot(agent_id, await self._streams.begin(agent_id), 0)
        seq, mark, position = cursor.partition(_MARK)
        if not mark or not (seq.isascii() and seq.isdigit()) or len(seq) > 18:
            raise InvalidInput(
                "cursor: must be a cursor that a page of a snapshot returned.", field="cursor"
            )
        snapshot = Snapshot(agent_id, parse_position(position, "cursor"), int(seq))
        await self._require_same_history(snapshot)
        return snapshot

    async def pages(self, snapshot: Snapshot, limit: int | None) -> AsyncIterator[SnapshotPage]:
        """Yield the memories, at most `limit` of them; the last page is empty.

        Raise PositionLost if a failover changed the data meanwhile, or StorageError.
        """
        given, seq = 0, snapshot.after_seq
        partition = partition_of(self._indexes, snapshot.agent_id)
        rows = PAGE_ROWS if limit is None else min(PAGE_ROWS, limit)
        pages = self._walk.pages(partition, after_seq=seq, page_rows=rows)
        async for page in pages:
            await self._require_same_history(snapshot)
            seq, given = page[-1].seq, given + len(page)
            yield SnapshotPage([_memory(row.fields) for row in page], snapshot.cursor(seq))
            if limit is not None and given >= limit:
                yield SnapshotPage([], snapshot.cursor(seq))
                return
        await self._require_same_history(snapshot)
        yield SnapshotPage([], "")

    async def _require_same_history(self, snapshot: Snapshot) -> None:
        """Raise PositionLost after a failover, which may have lost what was read so far."""
        if await self._streams.history(snapshot.agent_id) != snapshot.position.history:
            raise PositionLost(
                "cursor: a failover replaced the data of this snapshot: begin another one.",
                field="cursor",
            )


def _memory(fields: dict[str, bytes]) -> StoredHash:
    vectors = {name: fields[name] for name in VECTOR_FIELDS if name in fields}
    return StoredHash(fields["record"], vectors)
