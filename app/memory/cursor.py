"""Where a page ended, as text that the caller gives back."""

import base64
import binascii
import hashlib
import math

import orjson
from pydantic import BaseModel

from app.errors import InvalidInput
from app.storage.memory_query import Position

NOT_OURS = "cursor: must be the next_cursor of the same query: leave it out to begin again."
PAGING_FIELDS = {"cursor", "limit"}


def encode(position: Position | None, query: BaseModel) -> str | None:
    """The cursor behind this position; None behind the last page."""
    if position is None:
        return None
    content = [position.value, position.seq, _fingerprint(query)]
    return base64.urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


def decode(cursor: str | None, query: BaseModel) -> Position | None:
    """The position in a cursor. Raises InvalidInput for one that another query gave."""
    if cursor is None:
        return None
    try:
        content = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        value, seq, fingerprint = content
        position = Position(None if value is None else float(value), int(seq))
    except (binascii.Error, ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(NOT_OURS, field="cursor") from error
    is_finite = position.value is None or math.isfinite(position.value)
    if fingerprint != _fingerprint(query) or position.seq < 0 or not is_finite:
        raise InvalidInput(NOT_OURS, field="cursor")
    return position


def _fingerprint(query: BaseModel) -> str:
    """What makes two pages belong together: everything but the paging itself."""
    asked = orjson.dumps(query.model_dump(exclude=PAGING_FIELDS), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(asked, digest_size=8).hexdigest()
