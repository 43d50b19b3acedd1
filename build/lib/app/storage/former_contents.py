"""What concepts were before they were changed, read for an export."""

from collections.abc import AsyncIterator

from app.storage import keys
from app.storage.pipelines import Words, ask_all
from app.storage.shard import Shards
from app.storage.whole_hash import SEQ, Former, WholeHash, with_vectors
from app.vectors import VectorFormat

READ_AT_ONCE = 50


class FormerContents:
    """Reads the past of concepts from their master (change_concept.lua writes it)."""

    def __init__(self, shards: Shards, stored_as: VectorFormat) -> None:
        self._shards = shards
        self._stored_as = stored_as

    async def of(self, concept: WholeHash) -> AsyncIterator[WholeHash]:
        """The concept's former contents, latest first, as far as they are kept.

        What it became after it was read is left out, as are those that expire meanwhile. Raises
        StorageError.
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
                former = Former(number, of_changes, changed_at, expires_at)
                yield WholeHash(None, concept.memory_id, concept.seq, found, former=former)

    async def _read(self, seq: int, numbers: range) -> list[tuple[dict[bytes, bytes], int]]:
        """Hash and time of expiry (unix seconds) of each; an empty hash where there is none."""
        past = [f"{keys.semantic_history()}{seq}:{number}" for number in numbers]
        master = self._shards.shard_of(keys.semantic_partition()).master.client
        commands: list[Words] = []
        for key in past:
            commands += [("HGETALL", key), ("EXPIRETIME", key)]
        replies = await ask_all(master, commands)
        return list(zip(replies[::2], replies[1::2], strict=True))
