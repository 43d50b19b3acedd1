"""Where a page ended, as text that the caller gives back.

One page of memories.
"""

import base64
import binascii
import hashlib
import math
from dataclasses import dataclass

import orjson
from pydantic import BaseModel

from app.contract.fields import MAX_TIME_S
from app.errors import InvalidInput
from app.model import Accesses
from app.storage.listing import PagePosition

NOT_OURS = "cursor: must be the next_cursor of the same query: leave it out to begin again."
PAGING_FIELDS = {"cursor", "limit"}


@dataclass(frozen=True, slots=True)
class Continued:
    """Where a walk through pages goes on. `now` (unix seconds) is the moment of its first page,
    which every later page takes for now; 0 for a query that asks for nothing relative to now.
    `after` None: it begins."""

    after: PagePosition | None
    now: float


def encode(position: PagePosition | None, query: BaseModel, *, now: float = 0.0) -> str | None:
    """Return the cursor behind this position, or None behind the last page."""
    if position is None:
        return None
    content = [position.value, position.seq, _fingerprint(query), now]
    return base64.urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


def decode(cursor: str | None, query: BaseModel, *, now: float = 0.0) -> Continued:
    """Return where the pages go on; without a cursor they begin `now`.

    Raises InvalidInput for the cursor of another query.
    """
    if cursor is None:
        return Continued(None, now)
    try:
        content = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        value, seq, fingerprint, began = content
        position = PagePosition(None if value is None else float(value), int(seq))
        continued = Continued(position, float(began))
    except (binascii.Error, ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(NOT_OURS, field="cursor") from error
    is_finite = position.value is None or math.isfinite(position.value)
    is_finite = is_finite and abs(continued.now) <= MAX_TIME_S
    if fingerprint != _fingerprint(query) or position.seq < 0 or not is_finite:
        raise InvalidInput(NOT_OURS, field="cursor")
    return continued


def _fingerprint(query: BaseModel) -> str:
    """What makes two pages belong together: everything but the paging itself."""
    asked = orjson.dumps(query.model_dump(exclude=PAGING_FIELDS), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(asked, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class MemoryPage:
    """Records (JSON bytes) in order, the number of all that match, and the next page's cursor.

    `accesses` are the records' counters, in their order; empty for experiences.
    """

    records: list[bytes]
    accesses: list[Accesses]
    total: int
    next_cursor: str | None
