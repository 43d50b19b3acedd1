"""States of an agent that stand in for the present one, for placebos."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.errors import MemoryServiceError
from app.model import EpisodicFilter
from app.nodes.client import Client
from app.nodes.commands import ask_all
from app.nodes.reads import ReadRouter
from app.nodes.redis_errors import IndexMissing
from app.storage.index import Indexes, partition_of
from app.storage.query_syntax import episodic_conditions

STATE = "state_vector"


class DonorStates:
    """Draws states from agents' memories."""

    def __init__(self, reads: ReadRouter, indexes: Indexes, *, timeout_ms: int) -> None:
        self._reads = reads
        self._indexes = indexes
        self._timeout_ms = timeout_ms

    async def draw(
        self, agent_id: str, wanted: EpisodicFilter, places: Sequence[float]
    ) -> list[bytes]:
        """Return the states of the memories at these places, 0 to 1, of all that match.

        States are float32 bytes. A memory that is deleted meanwhile is left out. Without an index,
        as for an agent without memories, the list is empty. Raise StorageError.
        """
        partition = partition_of(self._indexes, agent_id)
        query = partition.query(*episodic_conditions(wanted))
        search = ("FT.SEARCH", partition.schema.alias, query)
        end = ("DIALECT", 2, "TIMEOUT", self._timeout_ms)

        async def ask(node: Client) -> list[bytes]:
            try:
                ((count,),) = await ask_all(node, [(*search, "LIMIT", 0, 0, *end)])
                at = [min(int(place * count), count - 1) for place in places if count]
                # By the order of storing, which no later memory changes.
                order = ("SORTBY", "seq", "ASC", "RETURN", 1, STATE)
                asked = [(*search, *order, "LIMIT", place, 1, *end) for place in at]
                replies: list[list[Any]] = await ask_all(node, asked)
            except IndexMissing:
                return []
            decode = self._indexes.stored_as.decode
            return [decode(reply[2][1]) for reply in replies if len(reply) == 3 and reply[2]]

        return await self._reads.read(partition.counter, ask)


POOL = 16
"""States kept of each agent for its placebos."""
POOL_S = 300.0
"""After this time they are drawn again in the background, while questions use the former ones."""
MAX_POOLS = 1000
"""Agents whose states a process keeps: 16 MB at 256 dimensions."""


@dataclass(slots=True)
class _Pool:
    states: list[bytes]
    drawn_at_s: float
    renewal: asyncio.Task[None] | None = None


class Donors:
    """Keeps states of each agent, so that a placebo costs no more than any other question."""

    def __init__(self, states: DonorStates, clock: Callable[[], float] = time.monotonic) -> None:
        self._states = states
        self._clock = clock
        self._pools: OrderedDict[str, _Pool] = OrderedDict()

    async def draw(self, agent_id: str, as_of: float | None, place: float) -> bytes | None:
        """Return a state that the agent was in, at a place from 0 to 1. Returns None if it has no
        closed memory. Raise StorageError.

        As of a moment, the same place gives the same state, whatever is stored later.
        """
        if as_of is not None:
            known = EpisodicFilter(as_of=as_of)
            found = await self._states.draw(agent_id, known, [place])
            return found[0] if found else None
        pool = self._pools.get(agent_id)
        if pool is None or not pool.states:
            pool = await self._drawn(agent_id)
        elif self._clock() - pool.drawn_at_s > POOL_S and pool.renewal is None:
            # An empty context, because the caller's deadline must not apply here.
            renewing = self._renew(agent_id, pool)
            pool.renewal = asyncio.create_task(renewing, context=Context())
        self._pools[agent_id] = pool
        self._pools.move_to_end(agent_id)
        if len(self._pools) > MAX_POOLS:
            self._pools.popitem(last=False)
        return pool.states[int(place * len(pool.states))] if pool.states else None

    async def aclose(self) -> None:
        """Cancel what is in progress."""
        tasks = [pool.renewal for pool in self._pools.values() if pool.renewal is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drawn(self, agent_id: str) -> _Pool:
        places = np.random.default_rng().random(POOL).tolist()
        closed = EpisodicFilter(closed=True)
        states = await self._states.draw(agent_id, closed, places)
        return _Pool(states, self._clock())

    async def _renew(self, agent_id: str, former: _Pool) -> None:
        try:
            self._pools[agent_id] = await self._drawn(agent_id)
        except MemoryServiceError:
            former.drawn_at_s = self._clock()  # the former ones stay in use
            former.renewal = None
