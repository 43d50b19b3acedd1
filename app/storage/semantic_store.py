"""Concepts in Redis: from the domain's value to a hash and back."""

from collections.abc import Sequence

import orjson

from app.errors import MemoryServiceError
from app.records import SemanticMemory, Stored
from app.storage import keys
from app.storage.filter_syntax import stored_tag
from app.storage.index import Indexes
from app.storage.memory_store import MemoryStore, StoreCommand, StoredHash

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

    async def delete(self, memory_id: str) -> bool:
        """Delete one concept; say whether there was one."""
        key = keys.semantic_memory(memory_id)
        return await self._store.delete([key], keys.semantic_partition()) > 0


def record_of(memory: SemanticMemory) -> bytes:
    """The concept as it is returned: JSON without vectors."""
    return orjson.dumps(
        {
            "id": memory.id,
            "memory_type": memory.memory_type,
            "regime_name": memory.regime_name,
            "sharpe_ratio": memory.sharpe_ratio,
            "win_rate": memory.win_rate,
            "created_at": memory.created_at,
            "metadata": memory.metadata,
        }
    )


def _command(memory: SemanticMemory) -> StoreCommand:
    return StoreCommand(
        memory_id=memory.id,
        key=keys.semantic_memory(memory.id),
        partition=keys.semantic_partition(),
        digest=memory.digest,
        fields={
            "concept_vector": memory.concept_vector,
            "record": record_of(memory),
            "memory_type": memory.memory_type,
            "regime_name": stored_tag(memory.regime_name),
            "sharpe_ratio": repr(memory.sharpe_ratio),
            "win_rate": repr(memory.win_rate),
            "access_count": 0,
            "last_accessed": 0,
            "created_at": repr(memory.created_at),
        },
    )
