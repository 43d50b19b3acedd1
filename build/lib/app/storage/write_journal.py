"""What a master was seen to have, for the moment at which a failover has lost some of it.

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
REMEMBERED_HISTORIES = 16
"""A node begins a new one with each start and promotion."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """What a failover lost of a master.

    `offset_bytes` of the history that the new one followed are gone at least. `keys` are those of
    this process's confirmed writes in them, and in what the master began after that history.
    `is_whole` False: there were more writes than are remembered.
    """

    offset_bytes: int
    keys: tuple[str, ...]
    is_whole: bool


class WriteJournal:
    """A node's histories as a master, in their order: how far each was, and confirmed writes.

    Kept apart from the node's status: an old master that is back as a replica tells of the new
    one's history only.
    """

    def __init__(self) -> None:
        self._reached: dict[str, int] = {}
        self._writes: deque[tuple[str, int, Keys]] = deque(maxlen=REMEMBERED_WRITES)

    def has_reached(self, history: str, offset: int) -> None:
        """The node was seen as a master that was so far."""
        self._reached[history] = max(offset, self._reached.get(history, offset))
        if len(self._reached) > REMEMBERED_HISTORIES:
            del self._reached[next(iter(self._reached))]

    def note(self, token: str, keys: Sequence[str | bytes]) -> None:
        """These keys were written, deleted or found written by a write with this token."""
        history, _, offset = token.partition(":")
        self.has_reached(history, int(offset))
        self._writes.append((history, int(offset), tuple(keys)))

    def beyond(self, history: str, offset: int) -> Discarded | None:
        """What a node lacks that followed this history until this offset; None: the history is
        none that this node was seen to have."""
        if history not in self._reached:
            return None
        histories = list(self._reached)
        later = histories[histories.index(history) + 1 :]
        lost = [
            keys for of, at, keys in self._writes if of in later or (of == history and at > offset)
        ]
        written = (key for keys in lost for key in keys)
        named = dict.fromkeys(k.decode() if isinstance(k, bytes) else k for k in written)
        is_whole = len(lost) < REMEMBERED_WRITES
        return Discarded(max(0, self._reached[history] - offset), tuple(named), is_whole)
