"""Concepts in Redis: from the domain's value to a hash and back."""

from collections.abc import Sequence
from typing import Any

import orjson

from app.errors import MemoryServiceError
from app.records import SemanticMemory, Stored
from app.storage import keys
from app.storage.filter_syntax import stored_tag, truth_tag
from app.storage.index import Indexes
from app.storage.memory_store import FieldValue, MemoryStore, StoreCommand, StoredHash

SemanticRecord = dict[str, Any]
"""A decoded record."""

VECTOR_FIELDS = ("concept_vector",)


class SemanticStore:
    """Writes, reads and deletes concepts."""

    def __init__(self, store: MemoryStore, indexes: Indexes) -> None:
        self._store = store
        self._indexes = indexes

    async def store_many(
        self, memories: Sequence[SemanticMemory]
    ) -> tuple[list[Stored | MemoryServiceError], str]:
        """As MemoryStore.store_many; afterwards each created memory can be found."""
        await self._indexes.ensure(self._indexes.semantic())
        return await self._store.store_many([_command(memory) for memory in memories])

    async def fetch(self, memory_id: str) -> StoredHash | None:
        """One concept, or None."""
        return await self._store.fetch(keys.semantic_memory(memory_id), VECTOR_FIELDS)

    async def update(
        self, memory_id: str, read: StoredHash, changed: SemanticRecord, vector: bytes | None
    ) -> str | None:
        """Write a changed record, and a new vector if one is given. Returns as MemoryStore.update.

        The digest stays that of the first store, so that repeating that store changes nothing.
        """
        fields = {"record": orjson.dumps(changed), **_indexed_fields(changed)}
        if vector is not None:
            fields["concept_vector"] = vector
        return await self._store.update(
            keys.semantic_memory(memory_id), keys.semantic_partition(), read.record, fields
        )

    async def delete(self, memory_id: str) -> bool:
        """Delete one concept; say whether there was one."""
        key = keys.semantic_memory(memory_id)
        return await self._store.delete([key], keys.semantic_partition()) > 0


def record_of(memory: SemanticMemory) -> SemanticRecord:
    """The concept as it is returned, without vectors."""
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
    """What the index needs of a record that can change."""
    return {
        "memory_type": record["memory_type"],
        "regime_name": stored_tag(record["regime_name"]),
        "sharpe_ratio": repr(record["sharpe_ratio"]),
        "win_rate": repr(record["win_rate"]),
        "pinned": truth_tag(record.get("pinned", False)),
    }


def _command(memory: SemanticMemory) -> StoreCommand:
    record = record_of(memory)
    return StoreCommand(
        memory_id=memory.id,
        key=keys.semantic_memory(memory.id),
        partition=keys.semantic_partition(),
        digest=memory.digest,
        fields={
            "concept_vector": memory.concept_vector,
            "record": orjson.dumps(record),
            **_indexed_fields(record),
            "access_count": 0,
            "last_accessed": 0,
            "created_at": repr(memory.created_at),
        },
    )
