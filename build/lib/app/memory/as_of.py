"""The moment of which a question is asked, and whether it must name one.

`as_of=T` is a question of what was known at T. A backtest must never ask another: a caller whose
key is marked so, and everybody where MEMORY_REQUIRE_AS_OF is set, is refused without it.
"""

from dataclasses import replace
from typing import Any

import orjson

from app.access import caller
from app.errors import InvalidInput
from app.records import Answer


def checked(as_of: float | None) -> float | None:
    """The moment that a question names. Raises InvalidInput when it must name one."""
    if as_of is None and caller.get().require_as_of:
        raise InvalidInput(
            "as_of: is required here: name the moment (unix seconds) whose knowledge may answer.",
            field="as_of",
        )
    return as_of


def was_known(timestamp: float, outcome_at: float | None, as_of: float) -> bool:
    """Whether an experience with these times existed for a question of this moment."""
    return outcome_at is not None and outcome_at <= as_of and timestamp <= as_of


def as_known(record: bytes, as_of: float) -> bytes:
    """A record without the ratings that were given later."""
    if b'"quality_at":' not in record and b'"priority_at":' not in record:
        return record
    decoded: dict[str, Any] = orjson.loads(record)
    for name in ("quality", "priority"):
        if decoded.get(f"{name}_at", as_of) > as_of:
            del decoded[name], decoded[f"{name}_at"]
    return orjson.dumps(decoded)


def hits_as_known(answer: Answer, as_of: float | None) -> Answer:
    """An answer without the ratings that were given later."""
    if as_of is None:
        return answer
    hits = [replace(hit, record=as_known(hit.record, as_of)) for hit in answer.hits]
    return replace(answer, hits=tuple(hits))


def uncounted(record: bytes) -> bytes:
    """A concept's record as of a moment: how often it was found by then is not known."""
    return b'%b,"access_count":null,"last_accessed":null}' % record[:-1]


def refuse_present(what: str) -> None:
    """Refuse what answers with the memory as it is now. Raises InvalidInput where as_of is due."""
    if caller.get().require_as_of:
        raise InvalidInput(
            f"as_of: is required here, and {what} knows only the present: use a service or key "
            "that does not require it.",
            field="as_of",
        )
