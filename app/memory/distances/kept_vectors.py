"""The state vectors of agents whose memories are searched by a learned distance.

The index compares by the cosine distance alone, so a search by another one compares every memory
here. A memory's vector never changes, so only those of new memories are read.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInput
from app.memory.estimates.history import ABSENT, History
from app.storage.histories import HistoryReader
from app.vectors import BYTES_PER_COMPONENT, to_array

READ_AT_ONCE = 256
"""Vectors of one round trip: about a millisecond of Redis."""

States = NDArray[np.float32]


@dataclass(slots=True)
class _Kept:
    """`states` (n, d) of the memories with the numbers `seq` (n,); NaN if it is gone."""

    seq: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    states: States = field(default_factory=lambda: np.empty((0, 0), np.float32))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class KeptVectors:
    """At most `max_bytes` of all agents together; those that were not asked for lately go first."""

    def __init__(self, reader: HistoryReader, *, max_bytes: int) -> None:
        self._reader = reader
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def require_room(self, memories: int, dimension: int) -> None:
        """Raise InvalidInput if the vectors of this many memories may not be kept."""
        if memories * dimension * BYTES_PER_COMPONENT > self._max_bytes:
            raise InvalidInput(
                f"metric: the {memories} memories in question take more than "
                "MEMORY_METRIC_MAX_BYTES: raise that setting, or ask one agent.",
                field="metric",
            )

    async def of(self, agent_id: str, history: History) -> States:
        """Return the states of a history's memories, row by row: (count, d), NaN for a deleted one.

        Memories that come while this works are not among them. Raise StorageError.
        """
        kept = self._kept.setdefault(agent_id, _Kept())
        self._kept.move_to_end(agent_id)
        async with kept.lock:
            seq = history.seq
            if not np.array_equal(kept.seq, seq):
                kept.states = await self._states(agent_id, history, seq.copy(), kept)
                kept.seq = seq.copy()
                self._bound(agent_id)
            return kept.states

    async def _states(
        self, agent_id: str, history: History, seq: NDArray[np.int64], kept: _Kept
    ) -> States:
        ids = [history.id_of(row) for row in range(len(seq))]
        known = np.full(len(seq), ABSENT)
        if len(kept.seq):
            at = np.minimum(np.searchsorted(kept.seq, seq), len(kept.seq) - 1)
            known = np.where(kept.seq[at] == seq, at, ABSENT)
        missing = np.flatnonzero(known == ABSENT).tolist()
        states = kept.states[known] if len(kept.seq) else None
        for first in range(0, len(missing), READ_AT_ONCE):
            part = missing[first : first + READ_AT_ONCE]
            found = await self._reader.vectors(
                agent_id, [(ids[row], int(seq[row])) for row in part]
            )
            for row, raw in zip(part, found, strict=True):
                if raw is None:
                    if states is not None:
                        states[row] = np.nan
                    continue
                if states is None:
                    states = np.full((len(seq), len(raw) // BYTES_PER_COMPONENT), np.nan, "f4")
                states[row] = to_array(raw)
        return np.empty((len(seq), 0), np.float32) if states is None else states

    def _bound(self, in_use: str) -> None:
        total = sum(kept.states.nbytes for kept in self._kept.values())
        for agent_id in list(self._kept):
            if total <= self._max_bytes:
                break
            if agent_id != in_use and not self._kept[agent_id].lock.locked():
                total -= self._kept.pop(agent_id).states.nbytes
