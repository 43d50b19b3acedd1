"""A map of an agent's memory in two dimensions, in which similar moments are close together."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.auth.limits import AgentAdmission
from app.memory import questions as as_of_moment
from app.memory.projection import principal_components
from app.model import EpisodicFilter
from app.nodes.changes import Freshness
from app.read_path.versions import PartitionVersions
from app.storage.map_source import MappedMemories, MapSource

MAX_POINTS = 100_000
MAX_BYTES = 128 * 1024 * 1024
"""Limit for all states of a map: 100,000 states of up to 335 numbers, fewer longer ones."""
MAX_KEPT_POINTS = 4 * MAX_POINTS
"""Points of all maps that are kept: some 45 MB."""
DIGITS = 5

NAMED = ("regime", "product_id", "action")
NUMBERS = ("reward", "timestamp")


@dataclass(frozen=True, slots=True)
class NameColumn:
    """A column of few different names: `codes` (int32) are places in `names`."""

    names: list[str | None]
    codes: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """Points in the order in which their memories were stored; `points` is (n, 2) float32.

    `numbers` holds the columns NUMBERS (float64; NaN stands for null), `named` the columns NAMED.
    `explained` is the share of the states' variance along each axis. `total` counts all matches.
    `whole_since` (unix seconds): some of what there was before then was purged.
    """

    ids: list[str]
    numbers: dict[str, NDArray[np.float64]]
    named: dict[str, NameColumn]
    points: NDArray[np.float32]
    explained: tuple[float, float]
    total: int
    whole_since: float | None

    @property
    def is_sampled(self) -> bool:
        """Return whether it holds only some of the memories."""
        return len(self.points) < self.total


_Key = tuple[str, int, float | None]


class MapOperations:
    """Draws maps, one at a time: each needs memory for its states, and a core for a while.

    A map is kept until its agent's memory changes, unless other processes' writes may be missed.
    """

    def __init__(
        self,
        source: MapSource,
        admit: AgentAdmission,
        versions: PartitionVersions,
        *,
        freshness: Freshness,
        dimension: int,
    ) -> None:
        self._source = source
        self._admit = admit
        self._versions = versions
        self._freshness = freshness
        self._most = max(1, min(MAX_POINTS, MAX_BYTES // (4 * dimension)))
        self._drawing = asyncio.Lock()
        self._kept: OrderedDict[_Key, tuple[int, MemoryMap]] = OrderedDict()

    async def draw(self, agent_id: str, *, limit: int, as_of: float | None) -> MemoryMap:
        """Draw at most `limit` of an agent's memories. Raise InvalidInput or StorageError."""
        await self._admit(agent_id)
        wanted = EpisodicFilter(as_of=as_of_moment.checked(as_of))
        key = (agent_id, min(limit, self._most), wanted.as_of)
        async with self._drawing:
            version = self._versions.version_of(agent_id)
            was_latest = self._freshness.reads_latest(agent_id)
            kept = self._kept.get(key)
            if kept is not None and kept[0] == version and was_latest:
                self._kept.move_to_end(key)
                return kept[1]
            drawn = await self._draw(agent_id, wanted, key[1])
            if was_latest and self._freshness.reads_latest(agent_id):
                self._keep(key, version, drawn)
        return drawn

    async def _draw(self, agent_id: str, wanted: EpisodicFilter, limit: int) -> MemoryMap:
        found = await self._source.read(agent_id, wanted, limit)
        return await asyncio.to_thread(_projected, found)

    def _keep(self, key: _Key, version: int, drawn: MemoryMap) -> None:
        """Keep a map under the version that its memory had before it was read."""
        self._kept.pop(key, None)
        self._kept[key] = version, drawn
        points = sum(len(one.points) for _, one in self._kept.values())
        while points > MAX_KEPT_POINTS:
            _, (_, oldest) = self._kept.popitem(last=False)
            points -= len(oldest.points)


def _projected(found: MappedMemories) -> MemoryMap:
    projection = principal_components(found.states)
    columns = found.columns
    return MemoryMap(
        ids=columns["id"],
        numbers={name: np.array(columns[name], np.float64) for name in NUMBERS},
        named={name: _names(columns[name]) for name in NAMED},
        points=np.round(projection.points, DIGITS),
        explained=projection.explained,
        total=found.total,
        whole_since=found.whole_since,
    )


def _names(values: Sequence[Any]) -> NameColumn:
    places: dict[str | None, int] = {}
    codes = [places.setdefault(value, len(places)) for value in values]
    return NameColumn(list(places), np.array(codes, np.int32))
