"""Keeps the histories of the agents that questions are about, and updates them.

A history is as current as a cached answer: while the version of an agent's memory is unchanged,
Redis is not asked. When it has changed, Redis is asked for what is new: after one store, one
memory.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.errors import HistoryTooLong
from app.memory.estimates.history import History
from app.memory.estimates.past_values import PastValues
from app.model import EpisodicQuestion, Scope
from app.nodes.changes import Freshness
from app.read_path.versions import PartitionVersions
from app.storage.histories import HistoryPosition, HistoryReader

PUT_AT_ONCE = 256
"""Memories that are added before other requests get their turn: some 2 ms."""

RECHECKED_S = 10.0
"""A history is checked again after this time, whatever its version says."""


@dataclass(slots=True)
class _Kept:
    history: History = field(default_factory=History)
    position: HistoryPosition = field(default_factory=HistoryPosition)
    version: int = -1
    epoch: int = -1
    checked_at_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class KeptHistories:
    """Histories with at most `max_memories` in all; the least recently used are dropped first.

    `derived` was computed from the histories. What may have changed in it is forgotten whenever a
    history changes. `clock` returns monotonic seconds.
    """

    def __init__(
        self,
        reader: HistoryReader,
        versions: PartitionVersions,
        *,
        freshness: Freshness,
        max_memories: int,
        derived: Sequence[PastValues],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._versions = versions
        self._freshness = freshness
        self._max_memories = max_memories
        self._derived = derived
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._has_grown = False

    async def in_question(self, question: EpisodicQuestion) -> dict[str, History] | None:
        """Return the histories of the asking agent and of the agents that it asks about.

        None if they hold more than may be kept. Raise StorageError.
        """
        agents = await self._agents(question.agent_id, question.scope)
        return await self.of(agents, is_fresh=question.consistency != "eventual")

    async def of(
        self, agents: Sequence[str], *, is_fresh: bool = False
    ) -> dict[str, History] | None:
        """Return the history of each agent; None if they hold more than may be kept.

        `is_fresh`: ask Redis even if nothing is known to have changed. Raise StorageError.
        """
        found: dict[str, History] = {}
        total = 0
        for agent_id in agents:
            history = await self._of(agent_id, self._max_memories - total, is_fresh)
            if history is None:
                return None
            found[agent_id] = history
            total += history.count
        if self._has_grown:
            self._has_grown = False
            self._drop_unused(set(agents))
        return found

    async def whole(self, agent_id: str, scope: Scope = "own") -> dict[str, History]:
        """Return the histories of an agent, and of those that it asks about, after asking Redis.

        Raise HistoryTooLong, or StorageError, also while a group of agents is away: no verdict is
        about a part of them.
        """
        everybody = [] if scope == "own" else await self._reader.all_agents()
        agents = [agent_id, *(name for name in everybody if name != agent_id)]
        histories = await self.of(agents, is_fresh=True)
        if histories is None:
            who, field_name = f"agent_id: {agent_id} holds", "agent_id"
            if scope != "own":
                who, field_name = f"scope: the agents of scope {scope} hold", "scope"
            raise HistoryTooLong(
                f"{who} more memories than MEMORY_ESTIMATE_HISTORY_MEMORIES: raise that setting.",
                field=field_name,
            )
        return histories

    async def _agents(self, agent_id: str, scope: Scope) -> list[str]:
        if scope == "own":
            return [agent_id]
        return [agent_id, *(name for name in await self._reader.agents() if name != agent_id)]

    async def _of(self, agent_id: str, room: int, is_fresh: bool) -> History | None:
        kept = self._kept.get(agent_id)
        if kept is None:
            if await self._reader.size(agent_id) > room:
                return None
            kept = self._kept.setdefault(agent_id, _Kept())
        self._kept.move_to_end(agent_id)
        if is_fresh or self._is_due(agent_id, kept):
            async with kept.lock:
                if is_fresh or self._is_due(agent_id, kept):
                    await self._bring_up_to_date(agent_id, kept)
        return kept.history if kept.history.count <= room else None

    def _is_due(self, agent_id: str, kept: _Kept) -> bool:
        return (
            kept.version != self._versions.version_of(agent_id)
            or not self._freshness.reads_latest(agent_id)
            or self._clock() - kept.checked_at_s > RECHECKED_S
        )

    async def _bring_up_to_date(self, agent_id: str, kept: _Kept) -> None:
        version, now_s = self._versions.version_of(agent_id), self._clock()
        epoch = self._versions.epoch
        # A new master may have lost writes, and given their numbers to others.
        since = kept.position if kept.epoch == epoch else HistoryPosition()
        changes = await self._reader.changes(agent_id, since)
        history = History() if changes.is_all else kept.history
        known_at = -math.inf if changes.is_all and kept.history.count else math.inf
        for first in range(0, len(changes.rows), PUT_AT_ONCE):
            if first:
                await asyncio.sleep(0)
            self._has_grown = True
            known_at = min(known_at, history.put(changes.rows[first : first + PUT_AT_ONCE]))
            if history is kept.history:  # at once: this may be cancelled before the next ones
                self._forget_derived(agent_id, known_at)
        if changes.is_all:
            kept.history = history
            self._forget_derived(agent_id, known_at)
        kept.position, kept.version, kept.checked_at_s = changes.position, version, now_s
        kept.epoch = epoch

    def _forget_derived(self, agent_id: str, known_at: float) -> None:
        for values in self._derived:
            values.forget_since(agent_id, known_at)

    def _drop_unused(self, in_use: set[str]) -> None:
        total = sum(kept.history.count for kept in self._kept.values())
        for agent_id in list(self._kept):
            if total <= self._max_memories:
                break
            if agent_id not in in_use:
                total -= self._kept.pop(agent_id).history.count
                # Later changes to it go unnoticed.
                self._forget_derived(agent_id, -math.inf)
