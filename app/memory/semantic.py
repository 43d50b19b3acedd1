"""Semantic memory: stores, finds, lists, changes and deletes the swarm's concepts."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import orjson

from app import keys
from app.auth import caller
from app.auth.audit import Audit
from app.contract.parse import parse_item
from app.contract.requests import (
    SemanticDelete,
    SemanticPatch,
    SemanticQuery,
    SemanticSearch,
    SemanticStore,
    SemanticStoreBatch,
)
from app.errors import MemoryNotFound, MemoryServiceError
from app.memory import paging
from app.memory import questions as as_of_moment
from app.memory.access_counting import AccessCounting
from app.memory.changes import until_written
from app.memory.deletion import delete_matching
from app.memory.paging import MemoryPage
from app.memory.questions import known_concepts, semantic_filter, uncounted
from app.memory.storing import BatchOutcome, digest_of, id_from_idempotency_key, new_id, store_batch
from app.metrics import measuring
from app.model import Accesses, Answer, SemanticMemory, SemanticQuestion, Stored, Trace
from app.read_path.stage import Recall
from app.storage import semantic
from app.storage.index import Indexes
from app.storage.listing import Deletion, MemoryQuery, PageQuery, merged_pages
from app.storage.memories import MemoryStore, StoredHash
from app.storage.query_syntax import semantic_conditions
from app.vectors import require_fit

VECTOR_FIELDS = ("concept_vector",)
OWNER = "semantic"


@dataclass(frozen=True, slots=True)
class PatchedConcept:
    """A changed concept's record (JSON bytes) and counters. `token` includes the change."""

    record: bytes
    accesses: Accesses
    token: str


class SemanticOperations:
    """Stores, finds, lists, changes and deletes concepts. `now` returns unix seconds."""

    def __init__(
        self,
        *,
        store: semantic.ConceptStore,
        query: MemoryQuery,
        memories: MemoryStore,
        indexes: Indexes,
        recall: Recall,
        accesses: AccessCounting,
        now: Callable[[], float],
        audit: Audit,
    ) -> None:
        self._store = store
        self._query = query
        self._memories = memories
        self._indexes = indexes
        self._audit = audit
        self._recall = recall
        self._accesses = accesses
        self._stored_as = indexes.stored_as
        self._now = now

    async def store(
        self,
        request: SemanticStore,
        idempotency_key: str | None = None,
        *,
        created_at: float | None = None,
    ) -> Stored:
        """Store one concept. Raise InvalidInput, ContentConflict or StorageError.

        `created_at` (unix seconds): since when it was known, or from now on if None.
        """
        memory = self._memory(request, idempotency_key)
        if created_at is not None:
            memory = replace(memory, created_at=created_at)
        (outcome,), _ = await self._store.store_many([memory])
        if isinstance(outcome, MemoryServiceError):
            raise outcome
        return outcome

    async def store_batch(
        self, request: SemanticStoreBatch, idempotency_key: str | None = None
    ) -> BatchOutcome:
        """Store many. Raise StorageError if nothing is known of the result."""
        caller.require_semantic_write()
        caller.require_batch("memories", len(request.memories))

        def prepare(index: int, item: object) -> SemanticMemory:
            key = None if idempotency_key is None else f"{idempotency_key}\0{index}"
            return self._memory(parse_item(SemanticStore, item), key)

        return await store_batch(request.memories, prepare, self._store.store_many)

    async def search(self, request: SemanticSearch) -> Answer:
        """Return the nearest concepts. Raise InvalidInput, StorageError or Overloaded.

        Each counts as accessed once, unless the question has an `as_of`. The counters in the answer
        exclude this search, and are as current as AccessCounting.live says. A filter on them uses
        the folded values.
        """
        caller.require_top_k(request.top_k)
        require_fit(request.concept_vector, self._stored_as, "concept_vector")
        with measuring("semantic_similarity"):
            answer = await self._recall.recall(_question(request))
        if request.as_of is not None:
            hits = tuple(replace(hit, record=uncounted(hit.record)) for hit in answer.hits)
            return replace(answer, hits=hits)
        found = [hit.accesses for hit in answer.hits if hit.accesses is not None]
        live = self._accesses.live(found)
        self._accesses.count(found)
        hits = tuple(
            replace(hit, accesses=accesses) for hit, accesses in zip(answer.hits, live, strict=True)
        )
        return replace(answer, hits=hits)

    async def fetch(self, memory_id: str) -> tuple[StoredHash, Accesses]:
        """Return a concept and its live counters. Counts no access. Raise MemoryNotFound."""
        as_of_moment.checked(None)
        return await self._fetch(memory_id)

    async def _fetch(self, memory_id: str) -> tuple[StoredHash, Accesses]:
        found = await self._store.fetch(memory_id)
        accesses = await self._accesses.read([memory_id])
        if found is None or memory_id not in accesses:
            raise _not_found(memory_id)
        return found, accesses[memory_id]

    async def fetch_as_of(self, memory_id: str, as_of: float) -> StoredHash:
        """Return one concept as it was then. Raise MemoryNotFound."""
        found = await self._store.fetch_as_of(memory_id, as_of)
        if found is None:
            raise _not_found(memory_id)
        return replace(found, record=uncounted(found.record))

    async def patch(self, memory_id: str, request: SemanticPatch) -> PatchedConcept:
        """Change some fields of one concept at once; other callers' concurrent changes stay.

        Repeating the original store is still answered `unchanged`, because the concept is
        identified by what was first sent. Raise InvalidInput, MemoryNotFound or StorageError.
        """
        caller.require_semantic_write()
        as_of_moment.refuse_present("a changed concept")
        if request.metadata is not None:
            caller.require_metadata(request.metadata)
        vector = request.concept_vector
        if vector is not None:
            require_fit(vector, self._stored_as, "concept_vector")
        named = request.model_fields_set.difference(VECTOR_FIELDS)
        changes = {name: getattr(request, name) for name in named}

        async def attempt() -> PatchedConcept | None:
            read, accesses = await self._fetch(memory_id)
            changed: semantic.SemanticRecord = orjson.loads(read.record) | changes
            now = self._now()
            token = await self._store.update(memory_id, read, changed, vector, now=now)
            return None if token is None else PatchedConcept(orjson.dumps(changed), accesses, token)

        return await until_written(attempt, "this concept")

    async def delete(self, memory_id: str) -> None:
        """Delete one concept. Raise MemoryNotFound."""
        caller.require_semantic_write()
        async with self._audit.action("delete_concept", memory_id=memory_id) as outcome:
            outcome["deleted"] = deleted = await self._store.delete(memory_id)
        if not deleted:
            raise _not_found(memory_id)

    async def page(self, request: SemanticQuery) -> MemoryPage:
        """Return one page. Raise InvalidInput for a cursor of another query, or StorageError.

        Pages neither skip nor repeat a concept that existed when the first page was read, unless
        its own sort value changes meanwhile. Filters and sorts use the counters as last folded.
        """
        wanted = known_concepts(request)
        page = PageQuery(
            schema=self._indexes.semantic(),
            conditions=semantic_conditions(wanted),
            sort_by=request.sort_by,
            order=request.order,
            limit=request.limit,
            after=paging.decode(request.cursor, request).after,
            counters=wanted.as_of is None,
        )
        with measuring("semantic_range"):
            found = await self._query.page(page)
            if wanted.as_of is not None:
                former = replace(
                    page,
                    schema=self._indexes.semantic_history(),
                    conditions=semantic_conditions(wanted, former=True),
                )
                found = merged_pages(page, found, await self._query.page(former))
                found = replace(found, records=[uncounted(record) for record in found.records])
        next_cursor = paging.encode(found.end, request)
        return MemoryPage(found.records, found.accesses, found.total, next_cursor)

    async def delete_matching(self, request: SemanticDelete) -> Deletion:
        """Delete what matches, or only count it. Raise StorageError."""
        caller.require_semantic_write()
        as_of_moment.refuse_present("deleting concepts by filter")
        return await delete_matching(
            self._query,
            self._memories,
            self._indexes.semantic(),
            keys.SEMANTIC_PARTITION,
            semantic_conditions(semantic_filter(request)),
            dry_run=request.dry_run,
            audit=self._audit,
            asked=request.model_dump(exclude_none=True),
        )

    def _memory(self, request: SemanticStore, idempotency_key: str | None) -> SemanticMemory:
        caller.require_semantic_write()
        caller.require_metadata(request.metadata)
        require_fit(request.concept_vector, self._stored_as, "concept_vector")
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
            pinned=request.pinned,
            digest=digest_of(request, VECTOR_FIELDS),
        )


def _not_found(memory_id: str) -> MemoryNotFound:
    return MemoryNotFound(f"There is no semantic memory {memory_id}: check the id.")


def _question(request: SemanticSearch) -> SemanticQuestion:
    return SemanticQuestion(
        vector=request.concept_vector,
        top_k=request.top_k,
        filter=known_concepts(request),
        max_distance=request.max_distance,
        exact=request.exact,
        include_vectors=request.include_vectors,
        consistency=request.consistency,
        trace=Trace() if request.explain else None,
    )
