"""What is indexed and how: the arguments of FT.CREATE, and the check of an existing index.

Parameters follow the specification. The number after FLAT and HNSW counts the arguments that
follow. https://redis.io/docs/latest/develop/interact/search-and-query/advanced-concepts/vectors/
"""

from dataclasses import dataclass, replace
from typing import Literal

from app import keys
from app.storage.query_syntax import TAG_SEPARATOR
from app.vectors import VectorFormat

Algorithm = Literal["FLAT", "HNSW"]

FLAT_BLOCK_SIZE = 64
"""Vectors that a FLAT index allocates at a time. The engine's default, 1024, costs 1 MB per index
at once, multiplied by ten thousand agents."""

_TAG = ("TAG", "SEPARATOR", TAG_SEPARATOR, "CASESENSITIVE")
_SORTABLE_TAG = (*_TAG, "SORTABLE", "UNF")
_NUMERIC = ("NUMERIC",)
_SORTABLE_NUMERIC = ("NUMERIC", "SORTABLE")


@dataclass(frozen=True, slots=True)
class HnswParameters:
    """HNSW's parameters: links per node, and candidates kept while building and while searching."""

    m: int
    ef_construction: int
    ef_runtime: int


EPISODIC_HNSW = HnswParameters(m=16, ef_construction=200, ef_runtime=64)
"""As specified, except EF_RUNTIME: its 10 finds 2 % of the true neighbours among 100,000 random
vectors."""

SEMANTIC_HNSW = HnswParameters(m=32, ef_construction=400, ef_runtime=20)


@dataclass(frozen=True, slots=True)
class IndexSchema:
    """One index: its alias, what it covers, and how it compares vectors.

    `partition` is the key that exists once anything was stored under `prefix`. With `movable`, the
    alias may switch to an index of the other algorithm (app/storage/index_move.py). With `home`, a
    key of the shard that is meant, each shard has an index of its own behind the same alias.
    """

    alias: str
    prefix: str
    partition: str
    algorithm: Algorithm
    vector_field: str
    stored_as: VectorFormat
    fields: tuple[tuple[str, tuple[str, ...]], ...]
    hnsw: HnswParameters
    movable: bool = False
    home: str = ""

    @property
    def route(self) -> str:
        """Return a key of the shard that holds the index."""
        return self.home or self.partition

    @property
    def vector_name(self) -> str:
        """Return the vector's name in queries.

        An index that can replace an exact one uses a different name. So a query meant for one is an
        error on the other, and its answer is never mistaken for exact.
        """
        is_stand_in = self.movable and self.algorithm == "HNSW"
        return f"{self.vector_field}_hnsw" if is_stand_in else self.vector_field

    def as_(self, algorithm: Algorithm) -> "IndexSchema":
        """Return the index of this algorithm behind the same alias."""
        return self if algorithm == self.algorithm else replace(self, algorithm=algorithm)

    @property
    def name(self) -> str:
        """Return the name of the index behind the alias."""
        return f"{self.alias}:{self.algorithm.lower()}"

    def create_command(self, *, scan: bool) -> tuple[str | int, ...]:
        """Return FT.CREATE. With `scan`, existing data is indexed in the background."""
        return (
            *("FT.CREATE", self.name, "ON", "HASH", "PREFIX", 1, self.prefix),
            *(() if scan else ("SKIPINITIALSCAN",)),
            *("SCHEMA", self.vector_field, "AS", self.vector_name),
            *("VECTOR", self.algorithm, *self._vector_arguments()),
            *(word for name, kind in self.fields for word in (name, *kind)),
        )

    def _vector_arguments(self) -> tuple[str | int, ...]:
        arguments: tuple[str | int, ...] = (
            *("TYPE", self.stored_as.engine_type, "DIM", self.stored_as.dimension),
            *("DISTANCE_METRIC", "COSINE"),
        )
        if self.algorithm == "HNSW":
            arguments += ("M", self.hnsw.m, "EF_CONSTRUCTION", self.hnsw.ef_construction)
            arguments += ("EF_RUNTIME", self.hnsw.ef_runtime)
        else:
            arguments += ("BLOCK_SIZE", FLAT_BLOCK_SIZE)
        return (len(arguments), *arguments)

    def missing_fields(self, found: "IndexInfo") -> list[tuple[str, tuple[str, ...]]]:
        """Return the fields that an index of a former release lacks."""
        present = {name for name, _ in found.fields}
        return [(name, kind) for name, kind in self.fields if name not in present]

    def add_field_command(self, name: str, kind: tuple[str, ...]) -> tuple[str, ...]:
        """Return FT.ALTER for one more field.

        Existing data is not scanned: none of it has the field, and its vectors stay in place.
        """
        return ("FT.ALTER", self.name, "SKIPINITIALSCAN", "SCHEMA", "ADD", name, *kind)

    def differences(self, found: "IndexInfo") -> list[str]:
        """Return how an existing index differs from this one, in words; empty if it fits."""
        expected = {
            "algorithm": self.algorithm,
            "dimension": str(self.stored_as.dimension),
            "type": self.stored_as.engine_type,
            "metric": "COSINE",
            "vector": self.vector_name,
            "prefixes": self.prefix,
            "fields": ", ".join(sorted(f"{name} {kind[0]}" for name, kind in self.fields)),
        }
        actual = {
            "algorithm": found.algorithm,
            "dimension": str(found.dimension),
            "type": found.data_type,
            "metric": found.metric,
            "vector": found.vector_name,
            "prefixes": ", ".join(found.prefixes),
            "fields": ", ".join(sorted(f"{name} {kind}" for name, kind in found.fields)),
        }
        return [
            f"{what} is {actual[what]}, expected {wanted}"
            for what, wanted in expected.items()
            if actual[what] != wanted
        ]


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What FT.INFO reports of an index. Sizes are in bytes; `size_bytes` includes the vectors.

    `fields` does not list the vector.
    """

    name: str
    prefixes: tuple[str, ...]
    algorithm: str
    dimension: int
    data_type: str
    metric: str
    vector_name: str
    fields: tuple[tuple[str, str], ...]
    documents: int
    is_complete: bool
    progress: float
    failures: int
    vector_bytes: int
    size_bytes: int


_EPISODIC_FIELDS = (
    ("product_id", _TAG),
    ("regime", _TAG),
    ("action", _TAG),
    ("reward", _SORTABLE_NUMERIC),
    ("timestamp", _SORTABLE_NUMERIC),
    ("outcome_at", _NUMERIC),
    ("terminal", _TAG),
    ("pinned", _TAG),  # only pinned memories have it
    ("quality", _NUMERIC),  # only rated memories have it
    ("quality_at", _NUMERIC),  # only memories that were rated after they were stored have it
    ("recorded_at", _NUMERIC),  # what a former release stored lacks it
    ("episode_id", _TAG),  # only memories of a trajectory have it, and its step
    ("step", _NUMERIC),
    ("horizons", _TAG),  # names of the outcomes beside the primary one
    ("quality_recorded_at", _NUMERIC),  # only if it carries an earlier time
    ("outcome_recorded_at", _NUMERIC),  # only memories that were closed after they were stored
    ("rev", _NUMERIC),  # only changed memories have it: the partition's number of that change
    ("seq", _SORTABLE_NUMERIC),
)


def episodic_schema(
    agent_id: str, stored_as: VectorFormat, algorithm: Algorithm = "FLAT"
) -> IndexSchema:
    """Return one agent's index in the per-agent layout, which is exact until it is large."""
    return IndexSchema(
        alias=keys.episodic_index(agent_id),
        prefix=keys.episodic_prefix(agent_id),
        partition=keys.episodic_partition(agent_id),
        algorithm=algorithm,
        vector_field="state_vector",
        stored_as=stored_as,
        fields=_EPISODIC_FIELDS,
        hnsw=EPISODIC_HNSW,
        movable=True,
    )


def shared_episodic_schema(stored_as: VectorFormat) -> IndexSchema:
    """Return the specification's one approximate index for all agents."""
    sortable = {"product_id", "regime"}
    fields = tuple(
        (name, _SORTABLE_TAG if name in sortable else kind) for name, kind in _EPISODIC_FIELDS
    )
    return IndexSchema(
        alias=keys.EPISODIC_INDEX,
        prefix=keys.EPISODIC_PREFIX,
        partition=keys.AGENTS,
        algorithm="HNSW",
        vector_field="state_vector",
        stored_as=stored_as,
        fields=(("agent_id", _SORTABLE_TAG), *fields),
        hnsw=EPISODIC_HNSW,
    )


def retired_schema(agent_id: str, stored_as: VectorFormat) -> IndexSchema:
    """Return the index of what retired from the memories of this agent and of all others on its
    shard.

    Exact: a search compares with those of the agents asked for alone.
    """
    return IndexSchema(
        alias=keys.RETIRED_INDEX,
        prefix=keys.RETIRED_PREFIX,
        partition=keys.RETIREMENTS,
        algorithm="FLAT",
        vector_field="state_vector",
        stored_as=stored_as,
        fields=(
            ("agent_id", _TAG),
            ("id", _TAG),
            ("retired_at", _SORTABLE_NUMERIC),
            *_EPISODIC_FIELDS,
        ),
        hnsw=EPISODIC_HNSW,
        home=keys.episodic_partition(agent_id),
    )


def semantic_schema(stored_as: VectorFormat) -> IndexSchema:
    """Return the index of the swarm's concepts."""
    return IndexSchema(
        alias=keys.SEMANTIC_INDEX,
        prefix=keys.SEMANTIC_PREFIX,
        partition=keys.SEMANTIC_PARTITION,
        algorithm="HNSW",
        vector_field="concept_vector",
        stored_as=stored_as,
        fields=(
            ("memory_type", _TAG),
            ("regime_name", _TAG),
            ("sharpe_ratio", _SORTABLE_NUMERIC),
            ("win_rate", _SORTABLE_NUMERIC),
            ("access_count", _SORTABLE_NUMERIC),
            ("last_accessed", _SORTABLE_NUMERIC),
            ("created_at", _SORTABLE_NUMERIC),
            ("pinned", _TAG),
            ("seq", _SORTABLE_NUMERIC),
            ("changed_at", _NUMERIC),  # only changed concepts have it
        ),
        hnsw=SEMANTIC_HNSW,
    )


def semantic_history_schema(stored_as: VectorFormat) -> IndexSchema:
    """Return the index of concept revisions. Exact, because there are few of them."""
    return IndexSchema(
        alias=keys.SEMANTIC_HISTORY_INDEX,
        prefix=keys.SEMANTIC_HISTORY,
        partition=keys.SEMANTIC_HISTORY_KEPT,
        algorithm="FLAT",
        vector_field="concept_vector",
        stored_as=stored_as,
        fields=(
            ("memory_type", _TAG),
            ("regime_name", _TAG),
            ("sharpe_ratio", _SORTABLE_NUMERIC),
            ("win_rate", _SORTABLE_NUMERIC),
            ("created_at", _SORTABLE_NUMERIC),
            ("valid_from", _NUMERIC),
            ("valid_until", _NUMERIC),
            ("seq", _SORTABLE_NUMERIC),
        ),
        hnsw=SEMANTIC_HNSW,
    )
