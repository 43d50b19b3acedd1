"""Retention's queries and deletions. Each memory is checked again in the script that deletes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app import keys
from app.model import AgeBy, EpisodicFilter
from app.nodes.commands import Script, Word
from app.nodes.reads import ReadRouter
from app.storage.access_counters import day_of
from app.storage.agents import AgentNames
from app.storage.index import Indexes
from app.storage.listing import MemoryQuery, PagePosition, PageQuery
from app.storage.memories import MemoryStore
from app.storage.query_syntax import (
    NOT_PINNED,
    PINNED,
    above,
    at_most,
    below,
    episodic_conditions,
    without,
)

WINDOW_DAYS = 30
FLAT_STEP = 200
HNSW_STEP = 20
CONCEPTS_STEP = 20
"""Memories deleted by one script: 3 to 5 ms of Redis's time. HNSW repairs its graph for each."""

CONCEPTS_PAGE = 200


@dataclass(frozen=True, slots=True)
class AgeRule:
    """An experience is too old if the field `by` (unix seconds) is less than `older_than`."""

    by: AgeBy
    older_than: float


@dataclass(frozen=True, slots=True)
class ExperienceCounts:
    """How many of an agent's experiences are too old, too old but pinned, undated, in total."""

    too_old: int
    pinned: int
    undated: int
    all: int


@dataclass(frozen=True, slots=True)
class ConceptRules:
    """What keeps a concept: values above these, or creation after `created_at` (unix seconds)."""

    sharpe_ratio: float
    access_count: int
    created_at: float


@dataclass(frozen=True, slots=True)
class Candidates:
    """Records of concepts that only their accesses may keep, with these; the next position."""

    concepts: list[tuple[dict[str, Any], int]]
    end: PagePosition | None


class RetentionStore:
    """Retention's questions and deletions."""

    def __init__(
        self,
        *,
        query: MemoryQuery,
        store: MemoryStore,
        reads: ReadRouter,
        indexes: Indexes,
        past_kept_s: int = 0,
    ) -> None:
        self._query = query
        self._store = store
        self._reads = reads
        self._indexes = indexes
        self._past_kept_s = past_kept_s
        self._forget_experiences = Script("forget_experiences")
        self._forget_concepts = Script("forget_concepts")
        self._count_window = Script("count_window")

    async def agents(self) -> list[str]:
        """Return every agent that ever stored an experience, in order."""
        return await AgentNames(self._reads).all()

    async def count_experiences(self, agent_id: str, rule: AgeRule) -> ExperienceCounts:
        """Count an agent's experiences by what the rule means for them."""
        own = self._of_agent(agent_id)
        return ExperienceCounts(
            *await self._query.counts(
                self._indexes.episodic(agent_id),
                [
                    (*own, below(rule.by, rule.older_than), NOT_PINNED),
                    (*own, below(rule.by, rule.older_than), PINNED),
                    (*own, without(rule.by)),
                    own,
                ],
            )
        )

    async def oldest_experiences(
        self, agent_id: str, rule: AgeRule, limit: int
    ) -> list[dict[str, Any]]:
        """Return records of experiences that may be removed, oldest first."""
        page = await self._query.page(
            PageQuery(
                schema=self._indexes.episodic(agent_id),
                conditions=self._that_may_go(agent_id, rule),
                sort_by="timestamp",
                order="asc",
                limit=limit,
                after=None,
            )
        )
        return [orjson.loads(record) for record in page.records]

    async def forget_experiences(
        self, agent_id: str, rule: AgeRule, retired_at: float | None
    ) -> int:
        """Retire some experiences that may be removed, or delete them if `retired_at` is None.

        Return how many; 0 means that none are left.
        """
        schema = self._indexes.episodic(agent_id)
        step = FLAT_STEP if schema.algorithm == "FLAT" else HNSW_STEP
        found = await self._query.keys(schema, self._that_may_go(agent_id, rule), step)
        if not found:
            return 0
        partition = keys.episodic_partition(agent_id)
        if retired_at is not None:
            await self._indexes.ensure(self._indexes.retired(agent_id))
        deleted, _ = await self._store.run(
            self._forget_experiences,
            [partition, *found],
            [
                *(repr(rule.older_than), rule.by),
                self._store.feed_entries,
                "" if retired_at is None else repr(retired_at),
            ],
            partition,
        )
        return int(deleted)

    async def count_kept_concepts(self, rules: ConceptRules) -> tuple[int, int, int]:
        """Return how many concepts are kept as pinned, for their Sharpe ratio, and as too young."""
        low = at_most("sharpe_ratio", rules.sharpe_ratio)
        pinned, good, young = await self._query.counts(
            self._indexes.semantic(),
            [
                (PINNED,),
                (NOT_PINNED, above("sharpe_ratio", rules.sharpe_ratio)),
                (NOT_PINNED, low, above("created_at", rules.created_at)),
            ],
        )
        return pinned, good, young

    async def candidates(
        self, rules: ConceptRules, now: float, after: PagePosition | None
    ) -> Candidates:
        """Return a page of the concepts that only their accesses may keep, oldest first."""
        page = await self._query.page(
            PageQuery(
                schema=self._indexes.semantic(),
                conditions=(
                    NOT_PINNED,
                    at_most("sharpe_ratio", rules.sharpe_ratio),
                    at_most("created_at", rules.created_at),
                ),
                sort_by="created_at",
                order="asc",
                limit=CONCEPTS_PAGE,
                after=after,
            )
        )
        records = [orjson.loads(record) for record in page.records]
        window = await self._window([record["id"] for record in records], now)
        return Candidates(
            [pair for pair in zip(records, window, strict=True) if pair[1] >= 0], page.end
        )

    async def forget_concepts(self, ids: Sequence[str], rules: ConceptRules, now: float) -> int:
        """Retire those of at most CONCEPTS_STEP concepts that no rule keeps. Return how many.

        Questions as of an earlier moment still find them, as long as revisions are kept.
        """
        days = _window_keys(now)
        if self._past_kept_s > 0:
            await self._indexes.ensure(self._indexes.semantic_history())
        deleted, _ = await self._store.run(
            self._forget_concepts,
            [
                *(*days, keys.SEMANTIC_PARTITION, keys.SEMANTIC_HISTORY_KEPT),
                *map(keys.semantic_memory, ids),
            ],
            [
                *(len(days), repr(rules.sharpe_ratio), rules.access_count),
                *(repr(rules.created_at), keys.SEMANTIC_HISTORY, repr(now), self._past_kept_s),
                *(keys.semantic_retired(""), keys.semantic_memory("")),
            ],
            keys.SEMANTIC_PARTITION,
        )
        return int(deleted)

    async def _window(self, ids: Sequence[str], now: float) -> list[int]:
        if not ids:
            return []
        days = _window_keys(now)
        concepts = [keys.semantic_memory(memory_id) for memory_id in ids]
        words: list[Word] = [*days, *concepts]
        hits = await self._reads.read(
            keys.SEMANTIC_PARTITION,
            lambda node: self._count_window.run(node, words, [len(days)]),
        )
        return [int(count) for count in hits]

    def _of_agent(self, agent_id: str) -> tuple[str, ...]:
        only_agent = agent_id if self._indexes.layout == "shared" else None
        return episodic_conditions(EpisodicFilter(), only_agent=only_agent)

    def _that_may_go(self, agent_id: str, rule: AgeRule) -> tuple[str, ...]:
        return (*self._of_agent(agent_id), below(rule.by, rule.older_than), NOT_PINNED)


def _window_keys(now: float) -> list[str]:
    """Return the keys of the last 30 days, and of the whole day on which they began."""
    today = day_of(now)
    return [keys.access_day(day) for day in range(today - WINDOW_DAYS, today + 1)]
