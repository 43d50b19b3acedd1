"""Reuses answers that are still true.

Two questions are equal if everything they ask for is equal: agent, scope, each filter, top_k,
vector bytes, exactness, consistency. An answer is cached with its memory's version and never
returned for a later one. It expires after `ttl_s`. The cache answers nothing of a memory while the
channel that announces other processes' writes to it may be down, and never answers `strong`. Errors
and partial answers are not cached.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from app.metrics import CACHE_ENTRIES, CACHE_HITS, CACHE_MISSES
from app.model import EVERY_EXPERIENCE, Answer, Question, SemanticFilter
from app.nodes.changes import Freshness
from app.read_path.stage import Recall, partition_of
from app.read_path.versions import PartitionVersions

ENTRY_OVERHEAD_BYTES = 600
"""Approximate size of an entry's objects, besides its bytes."""
HIT_OVERHEAD_BYTES = 150
TAG_OVERHEAD_BYTES = 60
PLACE_BYTES = 100

_NO_FILTERS = (EVERY_EXPERIENCE, SemanticFilter())


@dataclass(slots=True)
class _Entry:
    answer: Answer
    version: int
    expires_at_s: float
    size_bytes: int


class CachedRecall:
    """A bounded cache: the least recently used entry goes. `clock` returns monotonic seconds."""

    def __init__(
        self,
        following: Recall,
        versions: PartitionVersions,
        *,
        freshness: Freshness,
        ttl_s: float,
        max_entries: int,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._following = following
        self._versions = versions
        self._freshness = freshness
        self._ttl_s = ttl_s
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[Question, _Entry] = OrderedDict()
        self._size_bytes = 0

    async def recall(self, question: Question) -> Answer:
        """Return the answer, from the cache if it is known to be still true."""
        if question.consistency == "strong" or question.trace is not None:
            return await self._following.recall(question)
        version = self._versions.version(question)
        entry = self._entries.get(question)
        if entry is not None:
            is_true = entry.version == version and self._clock() < entry.expires_at_s
            if is_true and self._hears_writes(question):
                self._entries.move_to_end(question)
                CACHE_HITS.inc()
                return replace(entry.answer, cached=True)
            self._drop(question)
        CACHE_MISSES.inc()
        answer = await self._following.recall(question)
        unmoved = version == self._versions.version(question)
        is_whole = not (answer.partial or answer.may_lag)
        if unmoved and is_whole and self._hears_writes(question):
            self._keep(question, answer, version)
        return answer

    def _hears_writes(self, question: Question) -> bool:
        return self._freshness.hears_writes(partition_of(question))

    def clear(self) -> None:
        """Drop all entries."""
        self._entries.clear()
        self._size_bytes = 0
        CACHE_ENTRIES.set(0)

    def _keep(self, question: Question, answer: Answer, version: int) -> None:
        size_bytes = ENTRY_OVERHEAD_BYTES + _size_of_question(question) + _size_of(answer)
        if size_bytes > self._max_bytes:
            return
        entries, known = self._entries, len(self._entries)
        entry = _Entry(answer, version, self._clock() + self._ttl_s, size_bytes)
        former = entries.setdefault(question, entry)
        if former is not entry:  # of the same question, asked at the same time
            self._size_bytes -= former.size_bytes
            entries[question] = entry
            entries.move_to_end(question)
        self._size_bytes += size_bytes
        while len(entries) > self._max_entries or self._size_bytes > self._max_bytes:
            _, oldest = entries.popitem(last=False)
            self._size_bytes -= oldest.size_bytes
        if len(entries) != known:
            CACHE_ENTRIES.set(len(entries))

    def _drop(self, question: Question) -> None:
        entry = self._entries.pop(question, None)
        if entry is not None:
            self._size_bytes -= entry.size_bytes


def _size_of_question(question: Question) -> int:
    wanted = question.filter
    if wanted in _NO_FILTERS:
        return len(question.vector)
    values = (getattr(wanted, field.name) for field in fields(wanted))
    tags = (tag for value in values if isinstance(value, tuple) for tag in value)
    return len(question.vector) + sum(TAG_OVERHEAD_BYTES + 4 * len(tag) for tag in tags)


def _size_of(answer: Answer) -> int:
    hits = answer.hits
    size_bytes = HIT_OVERHEAD_BYTES * len(hits) + sum([len(hit.record) for hit in hits])
    if answer.places is not None:
        size_bytes += PLACE_BYTES * len(answer.places)
    if hits and hits[0].vectors is not None:  # then all hits have them
        size_bytes += sum(sum(map(len, (hit.vectors or {}).values())) for hit in hits)
    return size_bytes
