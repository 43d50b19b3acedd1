"""A concept's counters as a query finds them: as they were folded last."""

from app.records import Accesses
from app.storage import keys

COUNTER_FIELDS = ("seq", "access_count", "last_accessed")


def folded_accesses(key: bytes, fields: dict[bytes, bytes]) -> Accesses:
    """The counters of the concept under this key, taken out of COUNTER_FIELDS."""
    seq, count, last = (fields.pop(name.encode()) for name in COUNTER_FIELDS)
    return Accesses(keys.semantic_id(key.decode()), int(seq), int(count), float(last) or None)
