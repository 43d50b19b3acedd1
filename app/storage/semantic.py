"""Stores concepts in Redis as hashes, and reads them back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app import keys
from app.errors import MemoryServiceError
from app.model import SemanticFilter, SemanticMemory, Stored
from app.nodes.commands import Script
from app.storage.index import Indexes
from app.storage.listing import MemoryQuery
from app.storage.memories import FieldValue, MemoryStore, StoreCommand, StoredHash, decoded
from app.storage.query_syntax import semantic_conditions, stored_tag, truth_tag
from app.vectors import VectorFormat

SemanticRecord = dict[str, Any]
"""A decoded record."""

VECTOR_FIELDS = ("concept_vector",)


@dataclass(frozen=True, slots=True)
class Kept:
    """How many revisions a concept keeps, and for how many seconds."""

    changes: int
    seconds: int


class ConceptStore:
    """Writes, reads and deletes concepts."""

    def __init__(
        self, store: MemoryStore, indexes: Indexes, query: MemoryQuery, *, kept: Kept
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._query = query
        self._kept = kept
        self._change_script = Script("change_concept")

    async def store_many(
        self, memories: Sequence[SemanticMemory]
    ) -> tuple[list[Stored | MemoryServiceError], str]:
        """Store as MemoryStore.store_many does. Each created memory can be found afterwards."""
        await self._indexes.ensure(self._indexes.semantic())
        stored_as = self._indexes.stored_as
        return await self._store.store_many([_command(memory, stored_as) for memory in memories])

    async def fetch(self, memory_id: str) -> StoredHash | None:
        """Return one concept. None if it does not exist."""
        return await self._fetch(keys.semantic_memory(memory_id))

    async def _fetch(self, key: str) -> StoredHash | None:
        return decoded(await self._store.fetch(key, VECTOR_FIELDS), self._indexes.stored_as)

    async def fetch_as_of(self, memory_id: str, as_of: float) -> StoredHash | None:
        """Return one concept as it was then. None if it did not exist."""
        key, read = keys.semantic_memory(memory_id), (*VECTOR_FIELDS, "changed_at", "seq")
        found = await self._store.fetch(key, read)
        lives = []
        if found is not None:
            lives.append(int(found.vectors.pop("seq")))
            changed_at = found.vectors.pop("changed_at", None)
            is_current = changed_at is None or float(changed_at) <= as_of
            if is_current and _created_at(found) <= as_of:
                return decoded(found, self._indexes.stored_as)
        # Read after the concept, which may be retired meanwhile.
        lives += await self._query.numbers(keys.semantic_retired(memory_id))
        if not lives:
            return None
        of_concept = f"({'|'.join(f'@seq:[{seq} {seq}]' for seq in lives)})"
        conditions = semantic_conditions(SemanticFilter(as_of=as_of), former=True)
        schema = self._indexes.semantic_history()
        former = await self._query.keys(schema, (of_concept, *conditions), 1)
        return await self._fetch(former[0].decode()) if former else None

    async def update(
        self,
        memory_id: str,
        read: StoredHash,
        changed: SemanticRecord,
        vector: bytes | None,
        *,
        now: float,
    ) -> str | None:
        """Write a changed record, and a new vector if one is given. Returns the same as
        MemoryStore.update.

        The previous content is kept as a revision, so that a question with an earlier `as_of` still
        finds it. The digest stays that of the first store, so repeating that store changes nothing.
        """
        fields = {"record": orjson.dumps(changed), **_indexed_fields(changed)}
        if vector is not None:
            fields["concept_vector"] = self._indexes.stored_as.encode(vector)
        await self._indexes.ensure(self._indexes.semantic_history())
        key = keys.semantic_memory(memory_id)
        has_changed, token = await self._store.run(
            self._change_script,
            [key, keys.SEMANTIC_HISTORY_KEPT, keys.SEMANTIC_PARTITION],
            [
                *(read.record, keys.SEMANTIC_HISTORY, repr(now)),
                *(self._kept.changes, self._kept.seconds),
                *(word for field in fields.items() for word in field),
            ],
            keys.SEMANTIC_PARTITION,
            written=[key],
        )
        return token if has_changed else None

    async def delete(self, memory_id: str) -> bool:
        """Delete one concept. Return whether it existed."""
        key = keys.semantic_memory(memory_id)
        return await self._store.delete([key], keys.SEMANTIC_PARTITION) > 0


def _created_at(found: StoredHash) -> float:
    return float(orjson.loads(found.record)["created_at"])


def record_of(memory: SemanticMemory) -> SemanticRecord:
    """Return the concept's record: JSON without vectors."""
    return {
        "id": memory.id,
        "memory_type": memory.memory_type,
        "regime_name": memory.regime_name,
        "sharpe_ratio": memory.sharpe_ratio,
        "win_rate": memory.win_rate,
        "created_at": memory.created_at,
        "metadata": memory.metadata,
        "pinned": memory.pinned,
    }


def _indexed_fields(record: SemanticRecord) -> dict[str, FieldValue]:
    """Return the fields that the index needs of a record that can change."""
    return {
        "memory_type": record["memory_type"],
        "regime_name": stored_tag(record["regime_name"]),
        "sharpe_ratio": repr(record["sharpe_ratio"]),
        "win_rate": repr(record["win_rate"]),
        "pinned": truth_tag(record.get("pinned", False)),
    }


def _command(memory: SemanticMemory, stored_as: VectorFormat) -> StoreCommand:
    record = record_of(memory)
    return StoreCommand(
        memory_id=memory.id,
        key=keys.semantic_memory(memory.id),
        partition=keys.SEMANTIC_PARTITION,
        digest=memory.digest,
        fields={
            "concept_vector": stored_as.encode(memory.concept_vector),
            "record": orjson.dumps(record),
            **_indexed_fields(record),
            "access_count": 0,
            "last_accessed": 0,
            "created_at": repr(memory.created_at),
        },
    )
