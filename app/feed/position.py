"""A position: how far a reader has followed an agent's feed, and in which history of the data.

A failover may lose what the old master confirmed last. A reader that has seen lost changes must
start over, and one that has not may continue. So a position names two entries of the stream:
`after`, up to which the reader has read, and `seen`, the last one that existed when its memories
were read. A memory is read as it is now, so it may show a change whose entry comes later. Data that
lost writes is a prefix of the old data: if it still holds the entry `seen` with the same content,
it holds everything that the reader can have seen.
"""

import re
from dataclasses import dataclass

from app.errors import InvalidInput

_ENTRY = r"[0-9]{1,20}-[0-9]{1,20}"
_FORM = re.compile(rf"1\.([0-9a-f]{{40}})\.({_ENTRY})\.({_ENTRY})?\.([0-9a-f]{{12}})?")
_LARGEST = 2**64 - 1
"""Of a number of an entry in Redis."""


@dataclass(frozen=True, slots=True)
class Position:
    """`history` is the replication id of the data, `digest` that of the entry `seen`.

    With an empty `seen`, later effects are unknown, so the position is valid only in its history.
    """

    history: str
    after: str
    seen: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return f"1.{self.history}.{self.after}.{self.seen}.{self.digest}"


def parse_position(text: str, field: str) -> Position:
    """Return the position that a caller sent. Raise InvalidInput."""
    found = _FORM.fullmatch(text)
    if found is None or not all(map(_is_entry, found.group(2, 3))):
        raise InvalidInput(
            f"{field}: must be a position that a snapshot or the feed returned.", field=field
        )
    history, after, seen, digest = found.groups(default="")
    return Position(history, after, seen, digest)


def _is_entry(entry: str | None) -> bool:
    return entry is None or all(int(number) <= _LARGEST for number in entry.split("-"))
