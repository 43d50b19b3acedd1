"""A memory as it lies in Redis, whole."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.storage import episodic_store, semantic_store

SEQ = "seq"
VECTOR_FIELDS = (*episodic_store.VECTOR_FIELDS, *semantic_store.VECTOR_FIELDS)


@dataclass(frozen=True, slots=True)
class Former:
    """That a hash is what a concept was before its `number`th change, not what it is.

    `of_changes` and `changed_at` tell the concept as it is: how often and when last it was changed.
    `expires_at` is unix seconds.
    """

    number: int
    of_changes: int
    changed_at: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class WholeHash:
    """Every field of one memory's hash but `seq`, byte for byte; vectors as float32 bytes.

    `agent_id` None: a concept of the semantic memory. `hits_by_day`: how often searches found it,
    by the day (access_store.day_of), for as long as that is kept. `former`: of what a concept was.
    """

    agent_id: str | None
    memory_id: str
    seq: int
    fields: dict[str, bytes] = field(repr=False)
    hits_by_day: Mapping[int, int] = field(default_factory=dict)
    former: Former | None = None


def with_vectors(
    fields: Mapping[str, bytes], convert: Callable[[bytes], bytes]
) -> dict[str, bytes]:
    """The fields of a hash with its vectors converted."""
    return {n: convert(value) if n in VECTOR_FIELDS else value for n, value in fields.items()}
