"""Episodic memory: what one agent lived through."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeGuard, cast

import orjson

from app import access
from app.audit import Audit
from app.errors import InvalidInput, MemoryNotFound, MemoryServiceError
from app.memory import as_of as as_of_moment
from app.memory.batch import BatchOutcome, store_batch
from app.memory.crowding import Crowding
from app.memory.identity import digest_of, id_from_idempotency_key, new_id
from app.memory.question import episodic_question
from app.memory.vector_fit import require_fit
from app.query_metrics import measuring
from app.rate_limit import AgentAdmission
from app.read_path.stage import Recall
from app.records import Answer, EpisodicMemory, Stored
from app.schemas import EpisodicSearch, EpisodicSearchBatch, EpisodicStore, EpisodicStoreBatch
from app.storage import episodic_store
from app.storage.memory_store import StoreCommand, StoredHash
from app.validation import parse_item
from app.vectors import VectorFormat

MAX_VECTORS_PER_BATCH = 4096
"""Some 10 MB of numbers at 256 dimensions: a quarter of a second of the event loop."""

VECTOR_FIELDS = ("next_state_vector", "state_vector")


class EpisodicOperations:
    """Stores, finds, reads and deletes experiences. `now` gives unix seconds."""

    def __init__(
        self,
        *,
        store: episodic_store.EpisodicStore,
        recall: Recall,
        stored_as: VectorFormat,
        now: Callable[[], float],
        audit: Audit,
        crowding: Crowding,
        shared_max_age_days: float,
        admit: AgentAdmission,
    ) -> None:
        self._admit = admit
        self._crowding = crowding
        self._shared_max_age_days = shared_max_age_days
        self._store = store
        self._audit = audit
        self._recall = recall
        self._stored_as = stored_as
        self._now = now

    async def store(self, request: EpisodicStore, idempotency_key: str | None = None) -> Stored:
        """Store one experience. Raises InvalidInput, ContentConflict, StorageError."""
        await self._admit(request.agent_id)
        (outcome,), _ = await self._store.store_many([self._memory(request, idempotency_key)])
        if isinstance(outcome, MemoryServiceError):
            raise outcome
        return outcome

    async def store_batch(
        self, request: EpisodicStoreBatch, idempotency_key: str | None = None
    ) -> BatchOutcome:
        """Store many. Raises StorageError when nothing is known of the outcome."""
        access.require_batch("memories", len(request.memories))
        await self._admit(*_own_agents(request.memories))

        def prepare(index: int, item: object) -> StoreCommand:
            key = None if idempotency_key is None else f"{idempotency_key}\0{index}"
            return self._store.prepared(self._memory(parse_item(EpisodicStore, item), key))

        return await store_batch(request.memories, prepare, self._store.store_prepared)

    async def search(self, request: EpisodicSearch) -> Answer:
        """The nearest experiences.

        Raises InvalidInput, AgentForbidden, ScopeForbidden, StorageError, Overloaded.
        """
        await self._admit(request.agent_id)
        access.require_scope(request.scope)
        access.require_top_k(request.top_k)
        require_fit(request.state_vector, self._stored_as, "state_vector")
        with measuring("vector_similarity", request.agent_id):
            question = episodic_question(
                request, shared_max_age_days=self._shared_max_age_days, now=self._now()
            )
            answer = await self._recall.recall(question)
        if request.scope != "own":
            self._crowding.note(answer)
        return as_of_moment.hits_as_known(answer, request.as_of)

    async def search_batch(self, request: EpisodicSearchBatch) -> list[Answer | MemoryServiceError]:
        """An answer or an error for each search, in order; one that fails spoils no other.

        Raises InvalidInput when the answers would hold too many vectors.
        """
        access.require_batch("searches", len(request.searches))
        asked = sum(
            item.get("top_k", 10)
            for item in cast("list[object]", request.searches)
            if isinstance(item, dict)
            and item.get("include_vectors")
            and isinstance(item.get("top_k", 10), int)
        )
        if asked > MAX_VECTORS_PER_BATCH:
            raise InvalidInput(
                f"searches: may ask for {MAX_VECTORS_PER_BATCH} memories with vectors in all, "
                f"got {asked}.",
                field="searches",
            )
        return await asyncio.gather(*(self._search_item(item) for item in request.searches))

    async def _search_item(self, item: object) -> Answer | MemoryServiceError:
        try:
            return await self.search(parse_item(EpisodicSearch, item))
        except MemoryServiceError as error:
            return error

    async def fetch(
        self, agent_id: str, memory_id: str, *, as_of: float | None = None
    ) -> StoredHash:
        """One experience, if it was known then. Raises MemoryNotFound, InvalidInput."""
        await self._admit(agent_id)
        moment = as_of_moment.checked(as_of)
        found = await self._store.fetch(agent_id, memory_id)
        if found is not None and moment is not None:
            record: episodic_store.EpisodicRecord = orjson.loads(found.record)
            was_known = as_of_moment.was_known(record["timestamp"], record["outcome_at"], moment)
            known = as_of_moment.as_known(found.record, moment)
            found = replace(found, record=known) if was_known else None
        if found is None:
            raise MemoryNotFound(f"Agent {agent_id} has no memory {memory_id}: check both names.")
        return found

    async def delete(self, agent_id: str, memory_id: str) -> None:
        """Delete one experience. Raises MemoryNotFound."""
        await self._admit(agent_id)
        named = {"agent_id": agent_id, "memory_id": memory_id}
        async with self._audit.action("delete", **named) as outcome:
            outcome["deleted"] = deleted = await self._store.delete(agent_id, memory_id)
        if not deleted:
            raise MemoryNotFound(f"Agent {agent_id} has no memory {memory_id}: check both names.")

    def _memory(self, request: EpisodicStore, idempotency_key: str | None) -> EpisodicMemory:
        access.require_agent(request.agent_id)
        access.require_metadata(request.metadata)
        require_fit(request.state_vector, self._stored_as, "state_vector")
        if request.next_state_vector is not None:
            require_fit(request.next_state_vector, self._stored_as, "next_state_vector")
        memory_id = request.id
        if memory_id is None and idempotency_key is not None:
            memory_id = id_from_idempotency_key(idempotency_key, request.agent_id)
        now = self._now()
        timestamp = now if request.timestamp is None else request.timestamp
        outcome_at = request.outcome_at
        if outcome_at is None and request.reward is not None:
            outcome_at = max(now, timestamp)
        if outcome_at is not None and outcome_at < timestamp:
            raise InvalidInput(
                "outcome_at: must not be before timestamp, which is now unless it is given.",
                field="outcome_at",
            )
        return EpisodicMemory(
            id=memory_id or new_id(),
            agent_id=request.agent_id,
            product_id=request.product_id,
            regime=request.regime,
            state_vector=request.state_vector,
            action=request.action,
            reward=request.reward,
            timestamp=timestamp,
            outcome_at=outcome_at,
            terminal=request.terminal,
            next_state_vector=request.next_state_vector,
            metadata=request.metadata,
            pinned=request.pinned,
            recorded_at=now,
            quality=request.quality,
            priority=request.priority,
            digest=digest_of(request, VECTOR_FIELDS),
        )


def _own_agents(items: Sequence[object]) -> list[str]:
    """The agents that a batch names and the caller may touch; each item is asked for later."""
    named = [item.get("agent_id") for item in items if isinstance(item, dict)]
    may_touch = access.caller.get().may_touch
    return [name for name in dict.fromkeys(filter(_is_name, named)) if may_touch(name)]


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str)
