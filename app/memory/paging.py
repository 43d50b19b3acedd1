"""Cursors: where a page ended, as text that the caller sends back."""

import base64
import binascii
import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

import orjson
from pydantic import BaseModel

from app.contract.fields import MAX_TIME_S
from app.errors import InvalidInput
from app.memory.storing import canonical
from app.model import Accesses
from app.storage.listing import PagePosition

NOT_OURS = "cursor: must be the next_cursor of the same query: omit it to start over."
PAGING_FIELDS = {"cursor", "limit"}


@dataclass(frozen=True, slots=True)
class Continued:
    """Where a sequence of pages continues. `after` None means that it begins.

    `now` (unix seconds) is the moment of the first page, which all its pages use as now; 0 for a
    query that depends on no such moment.
    """

    after: PagePosition | None
    now: float


def encode(position: PagePosition | None, query: BaseModel, *, now: float = 0.0) -> str | None:
    """Return the cursor after this position. None after the last page."""
    if position is None:
        return None
    content = [position.value, position.seq, fingerprint(query, PAGING_FIELDS), now]
    return base64.urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


def decode(cursor: str | None, query: BaseModel, *, now: float = 0.0) -> Continued:
    """Return where the pages continue. Without a cursor they begin `now`.

    Raise InvalidInput for the cursor of another query.
    """
    if cursor is None:
        return Continued(None, now)
    try:
        content = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        value, seq, made_for, began = content
        position = PagePosition(None if value is None else float(value), int(seq))
        continued = Continued(position, float(began))
    except (binascii.Error, ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(NOT_OURS, field="cursor") from error
    is_finite = position.value is None or math.isfinite(position.value)
    is_finite = is_finite and abs(continued.now) <= MAX_TIME_S
    is_same = made_for == fingerprint(query, PAGING_FIELDS)
    if not is_same or position.seq < 0 or not is_finite:
        raise InvalidInput(NOT_OURS, field="cursor")
    return continued


def fingerprint(query: BaseModel, apart: set[str]) -> str:
    """Return a hash of everything that pages of one query have in common: all fields but these.

    Numbers count by value, as where a memory is stored again: 0 equals -0.
    """
    return _hash(query.model_dump_json(exclude=apart))


@lru_cache(maxsize=64)
def _hash(query: str) -> str:
    """Return a hash of a query's JSON. A learner asks the same hundreds of times a second."""
    asked = orjson.dumps(canonical(orjson.loads(query)), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(asked, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class MemoryPage:
    """Records (JSON bytes) in order, the number of all matches, and the next page's cursor.

    `accesses` holds the records' counters, in the same order; empty for experiences.
    """

    records: list[bytes]
    accesses: list[Accesses]
    total: int
    next_cursor: str | None
    whole_since: float | None = None
