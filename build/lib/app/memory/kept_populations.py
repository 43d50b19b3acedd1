"""Populations of samples, kept while they are still what would be read.

A trainer draws page after page of one population, and each page would read all of it anew. As with
answers (app/read_path/cache.py) one is kept for its memory's version, not handed out while it is
not known what others write, and goes after `ttl_s`.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.filters import EpisodicFilter
from app.read_path.versions import PartitionVersions
from app.storage.population import Candidate, Content, Populations

MAX_CANDIDATES = 200_000
"""In all kept populations: 44 MB. A larger one is read for each page."""

MAX_POPULATIONS = 256

_Key = tuple[str | None, EpisodicFilter, str | None]


@dataclass(frozen=True, slots=True)
class _Kept:
    found: Sequence[Candidate]
    version: int
    expires_at_s: float


class KeptPopulations:
    """Stands before Populations; the least recently used go first."""

    def __init__(
        self,
        populations: Populations,
        versions: PartitionVersions,
        *,
        is_channel_alive: Callable[[], bool],
        is_latest: Callable[[], bool] = lambda: True,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._populations = populations
        self._versions = versions
        self._is_channel_alive = is_channel_alive
        self._is_latest = is_latest
        self._ttl_s = ttl_s
        self._clock = clock
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()

    async def read(
        self, agent_id: str | None, wanted: EpisodicFilter, *, stratify_by: str | None
    ) -> Sequence[Candidate]:
        """As Populations.read, from here if that is known to be true still."""
        key = (agent_id, wanted, stratify_by)
        version = self._versions.version_of(agent_id)
        kept = self._kept.pop(key, None)
        if kept is not None and self._is_true(kept, version):
            self._kept[key] = kept
            return kept.found
        was_latest = self._is_latest()
        found = await self._populations.read(agent_id, wanted, stratify_by=stratify_by)
        if was_latest and self._is_latest() and self._is_channel_alive():
            # Written to meanwhile, it has an old version and is never handed out.
            self._keep(key, _Kept(found, version, self._clock() + self._ttl_s))
        return found

    async def fetch(
        self, drawn: Sequence[Candidate], *, with_vectors: bool
    ) -> list[Content | None]:
        """As Populations.fetch: contents are not kept."""
        return await self._populations.fetch(drawn, with_vectors=with_vectors)

    def _is_true(self, kept: _Kept, version: int) -> bool:
        is_current = kept.version == version and self._clock() < kept.expires_at_s
        return is_current and self._is_channel_alive()

    def _keep(self, key: _Key, kept: _Kept) -> None:
        self._kept[key] = kept
        candidates = sum(len(one.found) for one in self._kept.values())
        while candidates > MAX_CANDIDATES or len(self._kept) > MAX_POPULATIONS:
            _, oldest = self._kept.popitem(last=False)
            candidates -= len(oldest.found)
