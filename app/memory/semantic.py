"""Semantic memory: what the swarm knows."""

from collections.abc import Callable

from app.errors import MemoryNotFound, MemoryServiceError
from app.memory.batch import BatchOutcome, store_batch
from app.memory.conditions import semantic_filter
from app.memory.dimension import require_dimension
from app.memory.identity import digest_of, id_from_idempotency_key, new_id
from app.read_path.stage import Recall
from app.records import Answer, SemanticMemory, SemanticQuestion, Stored
from app.schemas import SemanticSearch, SemanticStore, SemanticStoreBatch
from app.storage import semantic_store
from app.storage.memory_store import StoredHash
from app.validation import parse_item

VECTOR_FIELDS = {"concept_vector"}
OWNER = "semantic"


class SemanticOperations:
    """Stores, finds, reads and deletes concepts. `now` gives unix seconds."""

    def __init__(
        self,
        *,
        store: semantic_store.SemanticStore,
        recall: Recall,
        dimension: int,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._recall = recall
        self._dimension = dimension
        self._now = now

    async def store(self, request: SemanticStore, idempotency_key: str | None = None) -> Stored:
        """Store one concept. Raises InvalidInput, ContentConflict, StorageError."""
        (outcome,), _ = await self._store.store_many([self._memory(request, idempotency_key)])
        if isinstance(outcome, MemoryServiceError):
            raise outcome
        return outcome

    async def store_batch(
        self, request: SemanticStoreBatch, idempotency_key: str | None = None
    ) -> BatchOutcome:
        """Store many. Raises StorageError when nothing is known of the outcome."""

        def prepare(index: int, item: object) -> SemanticMemory:
            key = None if idempotency_key is None else f"{idempotency_key}\0{index}"
            return self._memory(parse_item(SemanticStore, item), key)

        return await store_batch(request.memories, prepare, self._store.store_many)

    async def search(self, request: SemanticSearch) -> Answer:
        """The nearest concepts. Raises InvalidInput, StorageError, Overloaded."""
        require_dimension(request.concept_vector, self._dimension, "concept_vector")
        return await self._recall.recall(_question(request))

    async def fetch(self, memory_id: str) -> StoredHash:
        """One concept. Raises MemoryNotFound."""
        found = await self._store.fetch(memory_id)
        if found is None:
            raise MemoryNotFound(f"There is no semantic memory {memory_id}: check the id.")
        return found

    async def delete(self, memory_id: str) -> None:
        """Delete one concept. Raises MemoryNotFound."""
        if not await self._store.delete(memory_id):
            raise MemoryNotFound(f"There is no semantic memory {memory_id}: check the id.")

    def _memory(self, request: SemanticStore, idempotency_key: str | None) -> SemanticMemory:
        require_dimension(request.concept_vector, self._dimension, "concept_vector")
        memory_id = request.id
        if memory_id is None and idempotency_key is not None:
            memory_id = id_from_idempotency_key(idempotency_key, OWNER)
        return SemanticMemory(
            id=memory_id or new_id(),
            memory_type=request.memory_type,
            regime_name=request.regime_name,
            concept_vector=request.concept_vector,
            sharpe_ratio=request.sharpe_ratio,
            win_rate=request.win_rate,
            created_at=self._now(),
            metadata=request.metadata,
            digest=digest_of(request, VECTOR_FIELDS),
        )


def _question(request: SemanticSearch) -> SemanticQuestion:
    return SemanticQuestion(
        vector=request.concept_vector,
        top_k=request.top_k,
        filter=semantic_filter(request),
        max_distance=request.max_distance,
        exact=request.exact,
        include_vectors=request.include_vectors,
        consistency=request.consistency,
    )
