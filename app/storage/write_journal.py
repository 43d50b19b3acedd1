"""The last writes that were confirmed, for the moment at which a failover has lost some of them.

A promoted replica tells how far it had followed the old master. What this process confirmed beyond
that point is gone, and these are its keys: reported, never written again by the service itself,
for whoever stored it may have changed his mind since.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

Keys = tuple[str | bytes, ...]

REMEMBERED_WRITES = 5000
"""Replicas are milliseconds behind; this is half a second of a busy service, some 3 MB at most."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """What a failover lost of this process's confirmed writes.

    `offset_bytes` of the old history are gone at least, `keys` are those written in them.
    `is_whole` False: there were more writes than are remembered.
    """

    offset_bytes: int
    keys: tuple[str, ...]
    is_whole: bool


class WriteJournal:
    """Confirmed writes by the master's history and offset."""

    def __init__(self) -> None:
        self._writes: deque[tuple[str, int, tuple[str | bytes, ...]]] = deque(
            maxlen=REMEMBERED_WRITES
        )

    def note(self, token: str, keys: Sequence[str | bytes]) -> None:
        """These keys were written, deleted or found written by a write with this token."""
        history, _, offset = token.partition(":")
        self._writes.append((history, int(offset), tuple(keys)))

    def beyond(self, history: str, offset: int) -> Discarded:
        """What was confirmed in this history after this offset."""
        lost = [write for write in self._writes if write[0] == history and write[1] > offset]
        last = max((at for _, at, _ in lost), default=offset)
        written = (key for _, _, keys in lost for key in keys)
        keys = dict.fromkeys(k.decode() if isinstance(k, bytes) else k for k in written)
        is_whole = len(lost) < REMEMBERED_WRITES
        return Discarded(last - offset, tuple(keys), is_whole)
