"""The state vectors of agents whose memories are compared in this process.

A memory's vector never changes, so only those of new memories are read.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInput
from app.memory.estimates.history import History
from app.storage.histories import HistoryReader
from app.vectors import BYTES_PER_COMPONENT, to_array

READ_AT_ONCE = 256
"""Vectors of one round trip: about a millisecond of Redis."""

States = NDArray[np.float32]


class KeptStates(NamedTuple):
    """The states (n, d) of a history's memories, row by row, and their lengths (n,); NaN for a
    deleted one."""

    states: States
    lengths: NDArray[np.float32]


class _Kept:
    """The states of the first `count` memories of a history. There is room for more."""

    def __init__(self, history: History, dimension: int) -> None:
        self.history = history
        self.count = 0
        self.lock = asyncio.Lock()
        self._states = np.empty((0, dimension), np.float32)
        self._lengths = np.empty(0, np.float32)

    @property
    def nbytes(self) -> int:
        """Return how many bytes it takes."""
        return self._states.nbytes

    def first(self, count: int) -> KeptStates:
        """Return the states of the first `count` memories."""
        return KeptStates(self._states[:count], self._lengths[:count])

    def make_room(self, count: int) -> None:
        """Make room for this many memories, and some more."""
        if count > len(self._states):
            room = count + count // 4
            states, lengths = self._states, self._lengths
            # A new one: others may still read the former.
            self._states = np.empty((room, states.shape[1]), np.float32)
            self._lengths = np.empty(room, np.float32)
            self._states[: self.count] = states[: self.count]
            self._lengths[: self.count] = lengths[: self.count]

    def add(self, vectors: Sequence[bytes | None]) -> None:
        """Add the next memories' states."""
        first, last = self.count, self.count + len(vectors)
        for row, raw in enumerate(vectors, first):
            self._states[row] = np.nan if raw is None else to_array(raw)
        added = self._states[first:last]
        self._lengths[first:last] = np.sqrt(np.einsum("ij,ij->i", added, added))
        self.count = last


class KeptVectors:
    """At most `max_bytes` of all agents together; those that were not asked for lately go first."""

    def __init__(self, reader: HistoryReader, *, dimension: int, max_bytes: int) -> None:
        self._reader = reader
        self._dimension = dimension
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    @property
    def dimension(self) -> int:
        """Return how many numbers a state has."""
        return self._dimension

    def has_room(self, memories: int) -> bool:
        """Return whether the vectors of this many memories may be kept."""
        return memories * self._dimension * BYTES_PER_COMPONENT <= self._max_bytes

    def require_room(self, memories: int) -> None:
        """Raise InvalidInput if the vectors of this many memories may not be kept."""
        if not self.has_room(memories):
            raise InvalidInput(
                f"metric: the {memories} memories in question take more than "
                "MEMORY_METRIC_MAX_BYTES: raise that setting, or ask one agent.",
                field="metric",
            )

    async def of(self, agent_id: str, history: History) -> KeptStates:
        """Return the states of a history's memories.

        Memories that come while this works are not among them. Raise StorageError.
        """
        kept = self._kept.get(agent_id)
        if kept is None or kept.history is not history:
            # After a deletion, and behind a new master, a number may mean another memory.
            kept = self._kept[agent_id] = _Kept(history, self._dimension)
        self._kept.move_to_end(agent_id)
        count = history.count
        if kept.count < count:
            async with kept.lock:
                await self._read_up_to(count, agent_id, kept)
            self._bound(agent_id)
        return kept.first(count)

    async def _read_up_to(self, count: int, agent_id: str, kept: _Kept) -> None:
        kept.make_room(count)
        while kept.count < count:
            rows = range(kept.count, min(kept.count + READ_AT_ONCE, count))
            kept.add(await self._reader.vectors(agent_id, kept.history.names_of(rows)))

    def _bound(self, in_use: str) -> None:
        total = sum(kept.nbytes for kept in self._kept.values())
        for agent_id in list(self._kept):
            if total <= self._max_bytes:
                break
            if agent_id != in_use and not self._kept[agent_id].lock.locked():
                total -= self._kept.pop(agent_id).nbytes
