"""Probes of search results: the right hits, all of them, in order, and no others."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.model import EpisodicFilter
from app.nodes.commands import ask_each
from app.storage.assumptions.probe import (
    TIMEOUT_MS,
    Observation,
    Probe,
    Scratch,
    random_vectors,
)
from app.storage.query_syntax import conjunction, episodic_conditions, nearest, stored_tag
from app.storage.schema import IndexSchema
from app.storage.search import KnnShape

HOSTILE = (
    *("a,b", "BTC-USD", "x|y", "} @seq:{*", "*", "a\\", "\\", " at the ends ", "A", "a", "-a"),
    *("%a%", "(a)", "[1 2]", "'a'", '"a"', "@a", "a:b", "$vector", "=>", "ä", "~`"),
)


Hits = list[tuple[int, float]]
"""Numbers of the hashes found and their distances, nearest first."""


async def knn_each(
    place: Scratch, schema: IndexSchema, asked: Sequence[tuple[bytes, str]], top_k: int
) -> list[Hits | Exception]:
    """Run the service's own search for each vector and filter. Return each one's hits or error."""
    clause = nearest(top_k, schema.vector_name)
    commands = [
        KnnShape(schema.name, query, clause, ("distance",), top_k, TIMEOUT_MS).words(vector)
        for vector, query in asked
    ]
    replies = await ask_each(place.node, commands)
    return [r if isinstance(r, Exception) else _hits(r, schema) for r in replies]


async def knn(
    place: Scratch, schema: IndexSchema, vector: bytes, top_k: int, query: str = "*"
) -> Hits:
    """Run one such search. Raise the service's errors."""
    (found,) = await knn_each(place, schema, [(vector, query)], top_k)
    if isinstance(found, Exception):
        raise found
    return found


def _hits(reply: list[Any], schema: IndexSchema) -> Hits:
    return [(_number(key, schema), _distance(row)) for key, row in _rows(reply)]


def _rows(reply: list[Any]) -> list[tuple[bytes, list[Any]]]:
    return list(zip(reply[1::2], reply[2::2], strict=True))


def _distance(row: list[Any]) -> float:
    return float(row[row.index(b"distance") + 1])


def _number(key: bytes, schema: IndexSchema) -> int:
    return int(key.decode().removeprefix(schema.prefix))


class FlatIsExact(Probe):
    """FLAT finds what a comparison with every vector finds."""

    name = "flat is exact"
    assumes = "a search of a FLAT index equals brute force, with a filter and without"
    otherwise = "it does not start: `exact: true` would be false"
    is_vital = True

    async def look(self, place: Scratch) -> Observation:
        """Test it. Raise StorageError."""
        schema, vectors, questions = place.schema(), random_vectors(64), random_vectors(8, seed=2)
        await place.create(schema)
        await place.store(schema, vectors, reward=range(len(vectors)))
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        wrong = 0
        for low, query in ((0, "*"), (32, "(@reward:[32 inf])")):
            asked = [(question.tobytes(), query) for question in questions]
            answers = await knn_each(place, schema, asked, 10)
            for question, found in zip(questions, answers, strict=True):
                distances = 1 - unit @ (question / np.linalg.norm(question))
                expected = low + np.argsort(distances[low:], kind="stable")[:10]
                wrong += not _are_these(found, expected.tolist(), distances)
        count = 2 * len(questions)
        return Observation(wrong == 0, f"{count - wrong} of {count} answers equal brute force")


def _are_these(found: Hits | Exception, expected: list[int], distances: Any) -> bool:
    """Return whether an answer has these hashes in this order, at these distances."""
    if isinstance(found, Exception) or [n for n, _ in found] != expected:
        return False
    return bool(np.allclose([d for _, d in found], distances[expected], atol=1e-5))


class OrderAndLimit(Probe):
    """Hits come in order, as many as were asked for."""

    name = "order and limit"
    assumes = "SORTBY orders by distance, LIMIT gives more than 10, pages sort by two fields"
    otherwise = "it does not start: the nearest memories could be missing"
    is_vital = True

    async def look(self, place: Scratch) -> Observation:
        """Test it. Raise StorageError."""
        schema, vectors = place.schema(), random_vectors(64)
        await place.create(schema)
        numbers = range(len(vectors))
        times, records = [n % 3 for n in numbers], [str(n) for n in numbers]
        await place.store(schema, vectors, timestamp=times, record=records)
        found = await knn(place, schema, vectors[5].tobytes(), 50)
        distances = [distance for _, distance in found]
        if len(found) != 50 or distances != sorted(distances) or found[0][0] != 5:
            return Observation(False, f"{len(found)} of 50 hits, or not in order")
        page = await place.ask(
            *("FT.AGGREGATE", schema.name, "*", "SORTBY", 4, "@timestamp", "DESC", "@seq", "ASC"),
            *("MAX", 30, "LIMIT", 0, 30, "LOAD", 1, "@record", "DIALECT", 2),
        )
        rows_found = [dict(zip(row[::2], row[1::2], strict=True)) for row in page[1:]]
        expected = sorted(range(64), key=lambda n: (-(n % 3), n))[:30]
        if [int(row[b"record"]) for row in rows_found] != expected:
            return Observation(False, "a page sorted by two fields is not in order")
        return Observation(True, "50 hits in order of distance, 30 rows by two fields")


class HostileTags(Probe):
    """Escaped text is a value, whatever is in it."""

    name = "hostile tags"
    assumes = "in DIALECT 2 an escaped tag matches itself and nothing else"
    otherwise = "it does not start: a name could reach other memories"
    is_vital = True

    async def look(self, place: Scratch) -> Observation:
        """Test it. Raise StorageError."""
        schema, (vector,) = place.schema(), random_vectors(1)
        await place.create(schema)
        tags = [stored_tag(tag) for tag in HOSTILE]
        await place.store(schema, np.stack([vector] * len(tags)), product_id=tags)
        filters = [EpisodicFilter(product_id=(tag,)) for tag in HOSTILE]
        queries = [conjunction(episodic_conditions(wanted)) for wanted in filters]
        asked = [(vector.tobytes(), query) for query in queries]
        answers = await knn_each(place, schema, asked, len(HOSTILE))
        wrong = [
            tag
            for number, (tag, found) in enumerate(zip(HOSTILE, answers, strict=True))
            if isinstance(found, Exception) or [n for n, _ in found] != [number]
        ]
        if wrong:
            return Observation(False, f"these match something else, or not themselves: {wrong!r}")
        return Observation(True, f"{len(HOSTILE)} values match themselves alone")


class EmptyRanges(Probe):
    """A range that holds no number is a range."""

    name = "empty ranges"
    assumes = "a range with excluded equal ends matches nothing and is no error"
    otherwise = "it does not start: such questions would be answered 500"
    is_vital = True

    async def look(self, place: Scratch) -> Observation:
        """Test it. Raise StorageError."""
        schema, vectors = place.schema(), random_vectors(1)
        await place.create(schema)
        await place.store(schema, vectors, reward=[0.0])
        (text,) = episodic_conditions(EpisodicFilter(min_reward=1.0, max_reward=-1.0))
        found = await knn(place, schema, vectors.tobytes(), 1, f"({text})")
        return Observation(not found, f"{text} finds {len(found)} of 1 memories")


PROBES = (FlatIsExact(), OrderAndLimit(), HostileTags(), EmptyRanges())
