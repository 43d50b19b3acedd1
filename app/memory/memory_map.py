"""A map of an agent's memory in two dimensions, in which similar moments are close together."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from app.auth.limits import AgentAdmission
from app.memory import questions as as_of_moment
from app.memory.projection import principal_components
from app.model import EpisodicFilter
from app.storage.map_source import MapSource

MAX_POINTS = 100_000
MAX_BYTES = 128 * 1024 * 1024
"""Limit for all states of a map: 100,000 states of up to 335 numbers, fewer longer ones."""

RECORDS_AT_A_TIME = 2000
"""Records decoded before other requests get their turn: a few milliseconds."""

COLUMNS = ("id", "reward", "regime", "product_id", "action", "timestamp")


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """`columns` has a list for each of COLUMNS; `points` is (n, 2) float32, in the same order.

    `explained` is the share of the states' variance along each axis. `total` counts all matches.
    """

    columns: dict[str, list[Any]]
    points: NDArray[np.float32]
    explained: tuple[float, float]
    total: int

    @property
    def is_sampled(self) -> bool:
        """Return whether it holds only some of the memories."""
        return len(self.points) < self.total


class MapOperations:
    """Draws maps, one at a time: each needs memory for its states, and a core for a while."""

    def __init__(
        self,
        source: MapSource,
        admit: AgentAdmission,
        *,
        dimension: int,
    ) -> None:
        self._source = source
        self._admit = admit
        self._most = max(1, min(MAX_POINTS, MAX_BYTES // (4 * dimension)))
        self._drawing = asyncio.Lock()

    async def draw(self, agent_id: str, *, limit: int, as_of: float | None) -> MemoryMap:
        """Draw at most `limit` of an agent's memories. Raise InvalidInput or StorageError."""
        await self._admit(agent_id)
        wanted = EpisodicFilter(as_of=as_of_moment.checked(as_of))
        async with self._drawing:
            found = await self._source.read(agent_id, wanted, min(limit, self._most))
            projection = await asyncio.to_thread(principal_components, found.states)
        columns = await _columns(found.records)
        return MemoryMap(columns, projection.points, projection.explained, found.total)


async def _columns(records: Sequence[bytes]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for start in range(0, len(records), RECORDS_AT_A_TIME):
        for raw in records[start : start + RECORDS_AT_A_TIME]:
            record = orjson.loads(raw)
            for name, values in columns.items():
                values.append(record[name])
        await asyncio.sleep(0)
    return columns
