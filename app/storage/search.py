"""Nearest neighbours by FT.SEARCH: many questions in one round trip.

The engine's `distance` is the cosine distance, from 0 (same direction) to 2 (opposite). FLAT
indexes compare with every vector and are exact. HNSW is approximate unless HYBRID_POLICY ADHOC_BF
makes it compare with every vector that passes the filter.
https://redis.io/docs/latest/develop/interact/search-and-query/advanced-concepts/vectors/

A command is built as words, or as the bytes that go to Redis. The parts around the vector are
nearly always those of an earlier question. Packing them again took a tenth of the service's time
for a search (docs/benchmarks/hotpath.md), so they are cached in packed form.
"""

import asyncio
import math
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from app import keys
from app.errors import IndexRebuilding, MemoryServiceError, StorageFailed
from app.model import (
    Answer,
    EpisodicQuestion,
    Hit,
    Places,
    Question,
    RegimeStep,
    SemanticQuestion,
    Trace,
    merged_places,
    order_of,
)
from app.nodes.commands import Words, ask_each, errors_translated, pack, send_each
from app.nodes.groups.placement import all_agents
from app.nodes.node import RedisNode
from app.nodes.redis_errors import IndexMissing, OtherAlgorithm, translated
from app.storage.index import Indexes
from app.storage.index_info import ask_indexes
from app.storage.listing import COUNTER_FIELDS, folded_accesses
from app.storage.query_syntax import (
    COMPARE_ALL,
    EVERY_MEMORY,
    MATCH_ALL,
    joint_queries,
    nearest,
    partition_queries,
    semantic_queries,
    still_there,
)
from app.storage.retired.moments import NEVER, Moments, moments_command, read_moments
from app.storage.schema import IndexSchema
from app.vectors import VectorFormat

SHAPES_KEPT = 4096
"""About 600 bytes each. Filters that differ with every question evict each other."""


class KnnShape(NamedTuple):
    """A search without its vector. A tuple, because it is created and hashed for every question.

    `knn` is the clause that follows the filter `query`; `fields` are the fields to return.
    """

    alias: str
    query: str
    knn: str
    fields: tuple[str, ...]
    top_k: int
    timeout_ms: int

    def words(self, vector: bytes) -> Words:
        """Return the command for redis-py."""
        return (*self._before(), vector, *self._after())

    def _before(self) -> Words:
        words: list[str | int] = ["FT.SEARCH", self.alias, f"{self.query}=>{self.knn}"]
        words += ["RETURN", len(self.fields), *self.fields]
        words += ["SORTBY", "distance", "LIMIT", 0, self.top_k, "PARAMS", 2, "vector"]
        return words

    def _after(self) -> Words:
        return ("DIALECT", 2, "TIMEOUT", self.timeout_ms)

    def around_vector(self) -> tuple[bytes, bytes]:
        """Return the bytes before and after the vector's own length and bytes."""
        before, after = self._before(), self._after()
        count = len(before) + 1 + len(after)
        return b"*%d\r\n%b" % (count, _packed_words(before)), _packed_words(after)


def packed(shape: KnnShape, vector: bytes) -> bytes:
    """Return the command in Redis's protocol."""
    before, after = _around_vector(shape)
    return b"%b$%d\r\n%b\r\n%b" % (before, len(vector), vector, after)


_around_vector = lru_cache(SHAPES_KEPT)(KnnShape.around_vector)


def _packed_words(words: Words) -> bytes:
    """Return words as they stand within a command, without the leading count."""
    return pack(words).partition(b"\r\n")[2]


HEALED_AT_A_TIME = 16

FARTHEST = 2.0
"""The cosine distance of opposite vectors."""

_NOTHING_FOUND: list[object] = [0]

_HIT: tuple[str, ...] = ("record", "distance")
_COUNTED_HIT = (*_HIT, *COUNTER_FIELDS)
_PLACE = ("seq", "distance")
_RECORD, _DISTANCE = b"record", b"distance"


@dataclass(slots=True)
class _Search:
    """One FT.SEARCH: its question, its index, and its filter in query syntax."""

    question: Question
    schema: IndexSchema
    query: str
    step: RegimeStep | None = None
    only: tuple[str, ...] = ()

    def among(self) -> Words:
        """Return the words that limit it to the memories that may answer."""
        return ("INKEYS", len(self.only), *self.only)


_Asked = list[tuple[_Search, Any]]
"""A question's searches, each with its reply or with the error in its place."""

_INDEX_LOST = (IndexMissing, OtherAlgorithm)

Ask = Callable[[RedisNode, Sequence[_Search], Sequence[Words]], Awaitable[list[Any]]]


class VectorSearch:
    """Answers questions from a given node.

    Questions go over the connection that the node's searches share, if there is one.
    """

    def __init__(self, indexes: Indexes, *, timeout_ms: int) -> None:
        self._indexes = indexes
        self._timeout_ms = timeout_ms
        self._newest: dict[str, float] = {}

    async def recall_many(
        self, node: RedisNode, questions: Sequence[Question]
    ) -> list[Answer | MemoryServiceError]:
        """Return an answer or an error for each question, in order.

        Raise StorageError if the node as a whole could not be asked.
        """
        wide = [q for q in questions if isinstance(q, EpisodicQuestion) and q.scope != "own"]
        is_wide = bool(wide)
        agents = await all_agents(node.client) if is_wide else ()
        plans = [self._plan(question, agents) for question in questions]
        past = _of_the_past(questions)
        newest = self._newest.get(node.name, -math.inf) if past else -math.inf
        for i, earlier in past:
            if _as_of(earlier) < newest:
                plans[i] += self._retired(earlier, agents)
        asked_s = time.perf_counter()
        # Thousands of searches at once would block everyone else's replies on one connection.
        uses_pool = is_wide or node.shared is None
        ask = self._ask_pool if uses_pool else self._ask_packed
        told, moments = await self._told(node, plans, ask, [earlier for _, earlier in past])
        if moments.newest > newest:
            self._newest[node.name] = moments.newest
            late = [(i, q) for i, q in past if newest <= _as_of(q) < moments.newest]
            # What retired between the two questions is found twice, and counts once.
            plans = [self._retired(earlier, agents) for _, earlier in late]
            more, _ = await self._told(node, plans, ask, ())
            for (i, _), pairs in zip(late, more, strict=True):
                told[i] += pairs
        answered_s = time.perf_counter()
        answers: list[Answer | MemoryServiceError] = []
        for question, asked in zip(questions, told, strict=True):
            if question.trace is None:
                answers.append(self._answer(node, question, asked))
            else:
                question.trace.redis_ms += (answered_s - asked_s) * 1000
                answers.append(self._traced_answer(node, question, asked, question.trace))
        if moments.purged:
            for i, earlier in past:
                answers[i] = _less_than_whole(answers[i], moments.purged_of(earlier))
        return answers

    async def _told(
        self,
        node: RedisNode,
        plans: Sequence[Sequence[_Search]],
        ask: Ask,
        past: Sequence[EpisodicQuestion],
    ) -> tuple[list[_Asked], Moments]:
        """Return each plan's searches with replies, and when memories of the questions retired."""
        searches = [search for plan in plans for search in plan]
        more = [moments_command(past)] if past and searches else []
        replies = await self._ask(node, searches, ask, more)
        moments = read_moments(replies.pop(), past) if more else NEVER
        lost = [i for i, reply in enumerate(replies) if isinstance(reply, _INDEX_LOST)]
        if lost:
            await self._ask_again(node, searches, replies, lost)
        remaining = zip(searches, replies, strict=True)
        return [[next(remaining) for _ in plan] for plan in plans], moments

    def _retired(self, question: EpisodicQuestion, agents: Sequence[str]) -> list[_Search]:
        """Return the searches for what had not retired yet at the question's moment.

        `agents` are those of the node, where the question is about many.
        """
        is_own = question.scope == "own" or not agents
        schema = self._indexes.retired(question.agent_id if is_own else agents[0])
        return [
            _Search(question, schema, query, step)
            for step, query in joint_queries(question, still_there(_as_of(question)))
        ]

    def _traced_answer(
        self, node: RedisNode, question: Question, asked: _Asked, trace: Trace
    ) -> Answer | MemoryServiceError:
        started_s = time.perf_counter()
        answer = self._answer(node, question, asked)
        trace.decode_ms += (time.perf_counter() - started_s) * 1000
        trace.searches = len(asked)
        if asked:
            schema = asked[0][0].schema
            trace.index, trace.algorithm = schema.alias, schema.algorithm
            trace.vector_type = schema.stored_as.type
        return replace(answer, trace=trace) if isinstance(answer, Answer) else answer

    async def _ask(
        self,
        node: RedisNode,
        searches: Sequence[_Search],
        ask: Ask,
        more: Sequence[Words] = (),
    ) -> list[object]:
        """Return the node's replies to searches and further commands, in one round trip. Errors
        stand in their places."""
        if not searches:
            return []
        if node.has_whole_indexes:
            with translated():
                replies = await ask(node, searches, more)
            if node.has_whole_indexes:
                return errors_translated(replies)
        aliases = [search.schema.alias for search in searches]
        found = await ask_indexes(node, list(zip(aliases, self._commands(searches), strict=True)))
        return [*found, *(await ask_each(node.client, more) if more else ())]

    async def _ask_pool(
        self, node: RedisNode, searches: Sequence[_Search], more: Sequence[Words]
    ) -> list[Any]:
        return await send_each(node.client, [*self._commands(searches), *more])

    def _ask_packed(
        self, node: RedisNode, searches: Sequence[_Search], more: Sequence[Words]
    ) -> Awaitable[list[Any]]:
        assert node.shared is not None
        commands = [self._packed(search) for search in searches]
        if more:
            commands += map(pack, more)
        return node.shared.ask(commands)

    def _commands(self, searches: Sequence[_Search]) -> list[Words]:
        commands = []
        question, vector = None, b""
        for search in searches:
            if search.question is not question:  # searches of one question are adjacent
                question = search.question
                vector = self._indexes.stored_as.encode(question.vector)
            commands.append(self._words(search, vector))
        return commands

    def _words(self, search: _Search, vector: bytes) -> Words:
        words = self._shape(search).words(vector)
        return (*words, *search.among()) if search.only else words

    def _packed(self, search: _Search) -> bytes:
        vector = self._indexes.stored_as.encode(search.question.vector)
        if search.only:
            return pack(self._words(search, vector))
        return packed(self._shape(search), vector)

    async def _ask_again(
        self,
        node: RedisNode,
        searches: list[_Search],
        replies: list[object],
        lost: Sequence[int],
    ) -> None:
        """Replace the replies of searches whose index is missing or has moved."""
        gate = asyncio.Semaphore(HEALED_AT_A_TIME)

        async def recover(i: int) -> bool | MemoryServiceError:
            async with gate:
                schema = searches[i].schema
                try:
                    if isinstance(replies[i], OtherAlgorithm):
                        with suppress(IndexMissing):
                            await self._indexes.look_again(node.client, schema)
                            return True
                    return await self._indexes.recover(node.client, schema)
                except MemoryServiceError as error:
                    return error

        recovered = await asyncio.gather(*(recover(i) for i in lost))
        for i, outcome in zip(lost, recovered, strict=True):
            replies[i] = outcome if isinstance(outcome, MemoryServiceError) else _NOTHING_FOUND
        healed = [i for i, outcome in zip(lost, recovered, strict=True) if outcome is True]
        for i in healed:
            searches[i] = replace(searches[i], schema=self._indexes.current(searches[i].schema))
        again = await self._ask(node, [searches[i] for i in healed], self._ask_pool)
        for i, reply in zip(healed, again, strict=True):
            replies[i] = reply

    def _plan(self, question: Question, agents: Sequence[str]) -> list[_Search]:
        """Return the searches that together answer the question, one for each partition."""
        indexes = self._indexes
        if isinstance(question, SemanticQuestion):
            current, former = semantic_queries(question.filter)
            plan = [_Search(question, indexes.semantic(), current)]
            if former is not None:
                plan.append(_Search(question, indexes.semantic_history(), former))
            return plan
        owner = question.agent_id
        only: tuple[str, ...] = ()
        if question.only:
            only = tuple([keys.episodic_memory(owner, name) for name in question.only])
        if indexes.layout == "shared":
            schema = indexes.episodic(owner)
            return [
                _Search(question, schema, query, step, only)
                for step, query in joint_queries(question)
            ]
        plan = []
        asked = question.agents_asked(agents)
        for step, own, others in partition_queries(question):
            for agent_id in asked:
                query = own if agent_id == question.agent_id else others
                plan.append(_Search(question, indexes.episodic(agent_id), query, step, only))
        return plan

    def _shape(self, search: _Search) -> KnnShape:
        question, schema, query = search.question, search.schema, search.query
        attribute = ""
        if schema.algorithm == "HNSW":
            if question.exact:
                query, attribute = EVERY_MEMORY if query == MATCH_ALL else query, COMPARE_ALL
            else:
                attribute = self._indexes.effort.attribute(schema)
        elif schema.home:
            attribute = COMPARE_ALL  # with those that pass the filter: of the agents asked for
        fields = _HIT
        if isinstance(question, SemanticQuestion) and question.filter.as_of is None:
            fields = _COUNTED_HIT
        elif isinstance(question, EpisodicQuestion) and question.places_only:
            fields = _PLACE
        if question.include_vectors:
            fields += (schema.vector_field, "next_state_vector")
        knn = nearest(question.top_k, schema.vector_name, attribute)
        return KnnShape(schema.alias, query, knn, fields, question.top_k, self._timeout_ms)

    def _answer(
        self, node: RedisNode, question: Question, asked: _Asked
    ) -> Answer | MemoryServiceError:
        hits: list[Hit] = []
        places: list[Places] = []
        is_partial = False
        only_places = is_preferring = False
        if isinstance(question, EpisodicQuestion):
            only_places = question.places_only
            is_preferring = question.regime_policy == "prefer"
        for search, reply in asked:
            if not isinstance(reply, list):
                return _failure(reply)
            if only_places:
                is_other = is_preferring and search.step == "other"
                part, vanished = _parse_places(
                    reply, owner=_owner(search.schema), is_other=is_other
                )
                places.append(_near_enough(part, question.max_distance))
                is_partial |= vanished
                continue
            found, vanished = _parse_hits(reply, self._indexes.stored_as)
            if search.step is not None:
                found = [replace(hit, regime_step=search.step) for hit in found]
            hits += found
            is_partial |= vanished
        has_retired = bool(asked and asked[-1][0].schema.home)
        is_past = question.filter.as_of is not None
        is_exact = question.exact or not [s for s, _ in asked if s.schema.algorithm != "FLAT"]
        return Answer(
            tuple(_nearest_hits(question, hits, len(asked), has_retired)),
            exact=is_exact,
            partial=is_partial,
            served_by=node.label,
            places=(
                merged_places(places, question.top_k, may_repeat=has_retired, is_past=is_past)
                if only_places
                else None
            ),
        )


def _failure(reply: object) -> MemoryServiceError:
    """Return the error that stands in place of a search's reply."""
    if isinstance(reply, _INDEX_LOST):
        return IndexRebuilding("The index was lost again: try again.", retry_after_s=1)
    if isinstance(reply, MemoryServiceError):
        return reply
    raise StorageFailed("FT.SEARCH answered in an unknown form: use a supported Redis.")


def _nearest_hits(question: Question, hits: list[Hit], parts: int, has_retired: bool) -> list[Hit]:
    """Return the first hits of several searches together, each memory once."""
    if question.max_distance is not None:
        # Before the limit, so that a hit that is too far takes no other hit's place.
        hits = [hit for hit in hits if hit.distance <= question.max_distance]
    if parts > 1 or question.filter.as_of is not None:
        hits.sort(key=order_of(question))
        if has_retired:
            hits = list({hit.record: hit for hit in reversed(hits)}.values())[::-1]
        del hits[question.top_k :]
    return hits


def _near_enough(places: Places, max_distance: float | None) -> Places:
    """Return the places within a distance."""
    if max_distance is None or not places.distances or places.distances[-1] <= max_distance:
        return places
    count = bisect_right(places.distances, max_distance)
    return Places(
        places.agents,
        places.which[:count],
        places.seqs[:count],
        places.distances[:count],
        places.is_other[:count],
    )


def _owner(schema: IndexSchema) -> str | None:
    """Return the owner of the index; None for that of all agents."""
    is_joint = schema.home or schema.alias == keys.EPISODIC_INDEX
    return None if is_joint else keys.index_owner(schema.alias)


def _of_the_past(questions: Sequence[Question]) -> list[tuple[int, EpisodicQuestion]]:
    """Return the questions as of a moment, with their places."""
    return [
        (i, question)
        for i, question in enumerate(questions)
        if question.filter.as_of is not None and isinstance(question, EpisodicQuestion)
    ]


def _as_of(question: EpisodicQuestion) -> float:
    as_of = question.filter.as_of
    assert as_of is not None
    return as_of


def _less_than_whole(
    answer: Answer | MemoryServiceError, whole_since: float | None
) -> Answer | MemoryServiceError:
    """Return an answer that says since when answers are whole, if it is about an earlier moment."""
    if whole_since is None or not isinstance(answer, Answer):
        return answer
    return replace(answer, partial=True, exact=False, whole_since=whole_since)


def _parse_hits(reply: list[Any], stored_as: VectorFormat) -> tuple[list[Hit], bool]:
    """Return the hits of one RESP2 reply `[total, key, [field, value, ...], ...]`, nearest first.

    Also return whether a hit vanished (deleted or expired) after it was found and before it was
    read.
    """
    found = reply[2::2]
    if not [flat for flat in found if not (flat and len(flat) == 4 and flat[2] == _RECORD)]:
        # nearly always
        return list(map(Hit, [flat[3] for flat in found], _distances(found))), False
    hits: list[Hit] = []
    vanished = False
    for key, flat in zip(reply[1::2], found, strict=True):
        fields = dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {}
        record = fields.pop(_RECORD, None)
        if record is None:
            vanished = True
            continue
        distance = _distance(fields.pop(_DISTANCE))
        accesses = folded_accesses(key, fields) if b"seq" in fields else None
        vectors = None
        if fields:
            vectors = {name.decode(): stored_as.decode(raw) for name, raw in fields.items()}
        hits.append(Hit(record, distance, vectors, accesses))
    return hits, vanished


def _parse_places(reply: list[Any], *, owner: str | None, is_other: bool) -> tuple[Places, bool]:
    """Return the same as `_parse_hits` for places only. `owner`: the index's owner."""
    keys_found, found = reply[1::2], reply[2::2]
    vanished = not all(found)
    if vanished:
        there = [i for i, flat in enumerate(found) if flat]
        keys_found, found = [keys_found[i] for i in there], [found[i] for i in there]
    distances = _distances(found)
    agents: dict[str, int] = {}
    which = [0] * len(found)
    if owner is None:
        names = [keys.memory_owner(key.decode()) for key in keys_found]
        which = [agents.setdefault(name, len(agents)) for name in names]
    elif found:
        agents[owner] = 0
    places = Places(
        list(agents), which, [int(flat[3]) for flat in found], distances, [is_other] * len(found)
    )
    return places, vanished


def _distances(found: Sequence[Sequence[bytes]]) -> list[float]:
    """Return the distances of hits `[b"distance", text, ...]`, nearest first, as `_distance`
    does."""
    distances = [float(flat[1]) for flat in found]
    if distances and (distances[0] <= 0.0 or distances[-1] > FARTHEST):
        return [_distance(flat[1]) for flat in found]
    return distances


def _distance(text: bytes) -> float:
    """Return a distance from 0 to 2.

    Rounding leaves -1e-7 between equal vectors, up to -1e-3 with float16, and as much above 2
    between opposite ones.
    """
    distance = float(text)
    if distance > FARTHEST:
        return FARTHEST
    return distance if distance > 0.0 else 0.0
