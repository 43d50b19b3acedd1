"""Episodic memory: stores, finds, lists and deletes an agent's experiences."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeGuard, cast

import orjson

from app import keys
from app.auth import caller
from app.auth.audit import Audit
from app.auth.limits import AgentAdmission
from app.contract.parse import parse_item
from app.contract.requests import (
    MAX_TOP_K,
    EpisodicDelete,
    EpisodicQuery,
    EpisodicSearch,
    EpisodicSearchBatch,
    EpisodicStore,
    EpisodicStoreBatch,
    EpisodicWindow,
)
from app.decisions.arms import Arms
from app.decisions.ledger import DecisionLedger
from app.decisions.recall_ids import PREFIX
from app.errors import (
    AnswerTooLarge,
    InvalidInput,
    MemoryNotFound,
    MemoryServiceError,
)
from app.memory import paging
from app.memory import questions as as_of_moment
from app.memory.answer_limit import AnswerLimit, size_of_hits
from app.memory.changes import stored_outcomes
from app.memory.deletion import delete_matching
from app.memory.distances.lookup import Metrics
from app.memory.evidence import chosen_hits
from app.memory.paging import MemoryPage
from app.memory.questions import as_known, episodic_question, episodic_window_filter
from app.memory.storing import BatchOutcome, digest_of, id_from_idempotency_key, new_id, store_batch
from app.metrics import measuring
from app.model import NOT_ASKED, Answer, EpisodicFilter, EpisodicMemory, Stored
from app.read_path.stage import Recall
from app.settings import Layout
from app.storage import episodic
from app.storage.index import Indexes
from app.storage.listing import Deletion, MemoryQuery, PageQuery
from app.storage.memories import MemoryStore, Quota, StoreCommand, StoredHash
from app.storage.query_syntax import episodic_conditions
from app.storage.retired.memories import RetiredExperiences
from app.storage.retired.pages import page_as_of
from app.vectors import VectorFormat, require_fit

MAX_VECTORS_PER_BATCH = 4096
"""About 10 MB of numbers at 256 dimensions: a quarter of a second of the event loop."""

VECTOR_FIELDS = ("next_state_vector", "state_vector")
SETTLED_FIELDS = ("reward", "action", "product_id", "regime")


class EpisodicOperations:
    """Stores, finds, reads and deletes experiences. `now` returns unix seconds."""

    def __init__(
        self,
        *,
        store: episodic.ExperienceStore,
        recall: Recall,
        stored_as: VectorFormat,
        now: Callable[[], float],
        audit: Audit,
        shared_max_age_days: float,
        admit: AgentAdmission,
        arms: Arms,
        ledger: DecisionLedger,
        metrics: Metrics,
    ) -> None:
        self._admit = admit
        self._metrics = metrics
        self._arms = arms
        self._ledger = ledger
        self._shared_max_age_days = shared_max_age_days
        self._store = store
        self._audit = audit
        self._recall = recall
        self._stored_as = stored_as
        self._now = now

    async def store(self, request: EpisodicStore, idempotency_key: str | None = None) -> Stored:
        """Store one experience. Raise InvalidInput, ContentConflict or StorageError."""
        await self._admit(request.agent_id)
        memory = self._memory(request, idempotency_key)
        (outcome,), _ = await self._store.store_many([memory], _quota())
        if isinstance(outcome, MemoryServiceError):
            raise outcome
        if memory.id.startswith(PREFIX):
            await self._settle(memory, outcome)
        return outcome

    async def _settle(self, memory: EpisodicMemory, stored: Stored) -> None:
        """Count a memory that is a decision, if it has its outcome already."""
        record = {name: getattr(memory, name) for name in SETTLED_FIELDS}
        is_new = stored.status == "created"
        await self._ledger.settle(memory.agent_id, memory.id, record, is_new=is_new)

    async def store_batch(
        self, request: EpisodicStoreBatch, idempotency_key: str | None = None
    ) -> BatchOutcome:
        """Store many. Raise StorageError if nothing is known of the result."""
        caller.require_batch("memories", len(request.memories))
        await self._admit(*_own_agents(request.memories))

        decisions: dict[int, EpisodicMemory] = {}

        def prepare(index: int, item: object) -> StoreCommand:
            key = None if idempotency_key is None else f"{idempotency_key}\0{index}"
            memory = self._memory(parse_item(EpisodicStore, item), key)
            if memory.id.startswith(PREFIX):
                decisions[index] = memory
            return self._store.prepared(memory)

        store_many = partial(self._store.store_prepared, quota=_quota())
        became = await store_batch(request.memories, prepare, store_many)
        for index, memory in decisions.items():
            stored = became.outcomes[index]
            if isinstance(stored, Stored):
                await self._settle(memory, stored)
        return became

    async def search(self, request: EpisodicSearch) -> Answer:
        """Return the nearest experiences.

        Raise InvalidInput, AgentForbidden, ScopeForbidden, StorageError or Overloaded.
        """
        await self._admit(request.agent_id)
        caller.require_scope(request.scope)
        caller.require_top_k(request.top_k)
        require_fit(request.state_vector, self._stored_as, "state_vector")
        if not request.recall:
            return await self._found(request)
        as_of = as_of_moment.checked(request.as_of)
        given = await self._arms.assign(request.agent_id, request.state_vector, as_of)
        if given.state_vector is None:
            answer = NOT_ASKED
        elif given.arm == "memory":
            answer = await self._found(request)
        else:
            answer = await self._placebo(request, given.state_vector)
        return replace(answer, recall_id=given.recall_id, arm=given.arm)

    async def _placebo(self, request: EpisodicSearch, state_vector: bytes) -> Answer:
        """Return the memories nearest to another state, without that state itself."""
        other = {"state_vector": state_vector, "top_k": request.top_k + 1}
        answer = await self._found(request.model_copy(update=other))
        hits = [hit for hit in answer.hits if hit.distance > self._stored_as.same_distance]
        return replace(answer, hits=tuple(hits[: request.top_k]))

    async def _found(self, request: EpisodicSearch) -> Answer:
        with measuring("vector_similarity", request.agent_id):
            question = episodic_question(
                request, shared_max_age_days=self._shared_max_age_days, now=self._now()
            )
            if request.metric is not None:
                as_of, recorded_by = question.filter.as_of, request.recorded_by
                metric = await self._metrics.of(request.metric, as_of, recorded_by)
                question = replace(question, metric=metric)
            if request.distinct == "outcome" or request.horizon is not None:
                is_distinct = request.distinct == "outcome"
                answer = await chosen_hits(self._recall, question, is_distinct=is_distinct)
            else:
                answer = await self._recall.recall(question)
        if request.as_of is None:
            answer = as_of_moment.with_future_outcomes(answer, self._now())
        return as_of_moment.hits_as_known(answer, request.as_of, request.recorded_by)

    async def search_batch(
        self, request: EpisodicSearchBatch, limit: AnswerLimit
    ) -> list[Answer | MemoryServiceError]:
        """Return an answer or an error for each search, in order. A failed one does not affect the
        others.

        Once the answers together exceed the limit, the remaining ones are AnswerTooLarge, and
        searches that have not started are not sent. Raise InvalidInput if the answers would hold
        too many vectors.
        """
        caller.require_batch("searches", len(request.searches))
        asked = sum(
            _asked_vectors(item)
            for item in cast("list[object]", request.searches)
            if isinstance(item, dict)
        )
        if asked > MAX_VECTORS_PER_BATCH:
            raise InvalidInput(
                f"searches: may ask for {MAX_VECTORS_PER_BATCH} memories with vectors in all, "
                f"got {asked}.",
                field="searches",
            )
        return await _BatchOfSearches(limit, self._search_item).answers(request.searches)

    async def _search_item(self, item: object) -> Answer | MemoryServiceError:
        try:
            return await self.search(parse_item(EpisodicSearch, item))
        except MemoryServiceError as error:
            return error

    async def fetch(
        self,
        agent_id: str,
        memory_id: str,
        *,
        as_of: float | None = None,
        recorded_by: float | None = None,
    ) -> StoredHash:
        """Return one experience, if it was known then. Raise MemoryNotFound or InvalidInput."""
        await self._admit(agent_id)
        moment = as_of_moment.checked(as_of)
        if moment is None:
            found = await self._store.fetch(agent_id, memory_id)
        else:
            found = await self._store.fetch_as_of(agent_id, memory_id, moment)
        if found is not None and (moment is not None or recorded_by is not None):
            shown = as_of_moment.as_known(found.record, moment, recorded_by)
            is_there = as_of_moment.was_known(orjson.loads(shown), moment, recorded_by)
            found = replace(found, record=shown) if is_there else None
        if found is None:
            raise MemoryNotFound(
                f"Agent {agent_id} has no memory {memory_id}: check both names.",
                whole_since=await self._store.whole_since(agent_id, moment),
            )
        return found

    async def delete(self, agent_id: str, memory_id: str) -> None:
        """Delete one experience. Raise MemoryNotFound."""
        await self._admit(agent_id)
        named = {"agent_id": agent_id, "memory_id": memory_id}
        async with self._audit.action("delete", **named) as outcome:
            outcome["deleted"] = deleted = await self._store.delete(agent_id, memory_id)
        if not deleted:
            raise MemoryNotFound(f"Agent {agent_id} has no memory {memory_id}: check both names.")

    def _memory(self, request: EpisodicStore, idempotency_key: str | None) -> EpisodicMemory:
        caller.require_agent(request.agent_id)
        caller.require_metadata(request.metadata)
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
            episode_id=request.episode_id,
            step=request.step,
            scale=request.scale,
            outcomes=stored_outcomes(request.outcomes, timestamp),
            digest=digest_of(request, VECTOR_FIELDS),
        )


def _quota() -> Quota:
    """Return what the caller's key may have stored of each agent."""
    limits = caller.caller.get().limits
    return Quota(limits.memories or 0, limits.bytes or 0)


class _BatchOfSearches:
    """Gathers answers until they are too large together."""

    def __init__(
        self,
        limit: AnswerLimit,
        search: Callable[[object], Awaitable[Answer | MemoryServiceError]],
    ) -> None:
        self._limit = limit
        self._search = search
        self._size_bytes = 0
        self._tasks: list[asyncio.Task[Answer | MemoryServiceError]] = []

    async def answers(self, items: Sequence[object]) -> list[Answer | MemoryServiceError]:
        """Return the result of each search, in order."""
        self._tasks = [asyncio.create_task(self._limited(item)) for item in items]
        found = await asyncio.gather(*self._tasks, return_exceptions=True)
        return [
            self._too_large() if isinstance(outcome, asyncio.CancelledError) else _known(outcome)
            for outcome in found
        ]

    async def _limited(self, item: object) -> Answer | MemoryServiceError:
        # Called here: the search of a task that is cancelled before its turn never begins.
        outcome = await self._search(item)
        if isinstance(outcome, MemoryServiceError):
            return outcome
        self._size_bytes += size_of_hits(outcome.hits)
        if self._size_bytes <= self._limit.max_bytes:
            return outcome
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        return self._too_large()

    def _too_large(self) -> AnswerTooLarge:
        return AnswerTooLarge(
            f"searches: the answers together would hold more than {self._limit.max_bytes} bytes "
            "(MEMORY_MAX_ANSWER_BYTES): ask for fewer memories, or in smaller batches.",
            field="searches",
        )


def _known(outcome: Answer | BaseException) -> Answer | MemoryServiceError:
    if isinstance(outcome, BaseException) and not isinstance(outcome, MemoryServiceError):
        raise outcome
    return outcome


def _asked_vectors(search: Mapping[str, object]) -> int:
    """Return how many memories with vectors a search asks for, or 0 if its numbers are invalid."""
    top_k = search.get("top_k", 10)
    is_count = isinstance(top_k, int) and 1 <= top_k <= MAX_TOP_K
    return cast("int", top_k) if is_count and search.get("include_vectors") is True else 0


def _own_agents(items: Sequence[object]) -> list[str]:
    """Return the agents in a batch that the caller may touch. Each item is checked later."""
    named = [item.get("agent_id") for item in items if isinstance(item, dict)]
    may_touch = caller.caller.get().may_touch
    return [name for name in dict.fromkeys(filter(_is_name, named)) if may_touch(name)]


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


SECONDS_PER_HOUR = 3600.0

_OF_PERFORMANCE = ("min_reward", "max_reward", "min_quality")


def erases(request: EpisodicDelete) -> bool:
    """Return whether a deletion is for good: unless it goes by what came of the memories."""
    if request.erase is not None:
        return request.erase
    return all(getattr(request, name) is None for name in _OF_PERFORMANCE)


class EpisodicQueryOperations:
    """Lists and deletes experiences. `now` returns unix seconds."""

    def __init__(
        self,
        *,
        query: MemoryQuery,
        store: MemoryStore,
        indexes: Indexes,
        now: Callable[[], float],
        audit: Audit,
        admit: AgentAdmission,
        retired: RetiredExperiences,
        keeps_past: bool,
        ledger: DecisionLedger,
    ) -> None:
        self._admit = admit
        self._ledger = ledger
        self._retired = retired
        self._keeps_past = keeps_past
        self._audit = audit
        self._query = query
        self._store = store
        self._indexes = indexes
        self._now = now

    async def page(self, request: EpisodicQuery) -> MemoryPage:
        """Return one page. Raise InvalidInput for a cursor of another query, or StorageError.

        Pages neither skip nor repeat a memory that existed when the first page was read, unless its
        own sort value changes meanwhile: an open memory that is closed moves to its reward's place.
        On every page, `hours` ends at the moment of the first page.
        """
        await self._admit(request.agent_id)
        with measuring("range", request.agent_id):
            # As of a moment, pages depend on no other one.
            now = self._now() if request.as_of is None else 0.0
            continued = paging.decode(request.cursor, request, now=now)
            wanted = PageQuery(
                schema=self._indexes.episodic(request.agent_id),
                conditions=self._conditions(request, continued.now),
                sort_by=request.sort_by,
                order=request.order,
                limit=request.limit,
                after=continued.after,
            )
            whole_since = None
            if request.as_of is None:
                found = await self._query.page(wanted)
            else:
                found = await page_as_of(
                    self._query, self._indexes, wanted, request.agent_id, request.as_of
                )
                moments = await self._retired.moments(request.agent_id)
                whole_since = moments.whole_since(request.agent_id, request.as_of)
        next_cursor = paging.encode(found.end, request, now=continued.now)
        records = found.records
        if request.as_of is not None or request.recorded_by is not None:
            records = [as_known(r, request.as_of, request.recorded_by) for r in records]
        return MemoryPage(records, found.accesses, found.total, next_cursor, whole_since)

    async def delete(self, request: EpisodicDelete) -> Deletion:
        """Delete the matches, or only count them. Raise StorageError.

        Those that are deleted by what came of them retire, unless the request erases: a question
        as of an earlier moment must not find the winners alone. An erasure includes what retired.
        With all memories of an agent its decisions go, also where it never stored any.
        """
        await self._admit(request.agent_id)
        is_erasure = erases(request)
        retires = self._keeps_past and not is_erasure
        if retires and not request.dry_run:
            await self._indexes.ensure(self._indexes.retired(request.agent_id))
        now = self._now()
        present = await delete_matching(
            self._query,
            self._store,
            self._indexes.episodic(request.agent_id),
            keys.episodic_partition(request.agent_id),
            self._conditions(request, now),
            dry_run=request.dry_run,
            audit=self._audit,
            asked=request.model_dump(exclude_none=True),
            retired_at=now if retires else None,
        )
        if not is_erasure:
            return present
        retired = await self._retired.delete(
            request.agent_id,
            episodic_conditions(self._filter(request, now)),
            dry_run=request.dry_run,
        )
        deletion = Deletion(
            matched=present.matched + retired.matched, deleted=present.deleted + retired.deleted
        )
        is_of_all = request.model_fields_set <= {"agent_id", "dry_run"}
        if is_of_all and not request.dry_run and deletion.deleted >= deletion.matched:
            await self._ledger.forget(request.agent_id)
        return deletion

    def _filter(self, request: EpisodicWindow, now: float) -> EpisodicFilter:
        hours = request.hours
        until = now if request.as_of is None else request.as_of
        since = None if hours is None else until - hours * SECONDS_PER_HOUR
        return episodic_window_filter(request, since)

    def _conditions(self, request: EpisodicWindow, now: float) -> tuple[str, ...]:
        layout: Layout = self._indexes.layout
        return episodic_conditions(
            self._filter(request, now),
            only_agent=request.agent_id if layout == "shared" else None,
        )
