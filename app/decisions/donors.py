"""States of an agent that stand in for the present one, for placebos."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from app.errors import MemoryServiceError
from app.model import EpisodicFilter
from app.nodes.client import Client
from app.nodes.commands import Words, ask_all
from app.nodes.node import RedisNode
from app.nodes.reads import ReadRouter
from app.nodes.redis_errors import IndexMissing
from app.storage.index import Indexes, Partition, partition_of, retired_of
from app.storage.query_syntax import episodic_conditions, still_there
from app.storage.retired.memories import states_of
from app.storage.retired.moments import has_retired_since

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
        if await has_retired_since(self._reads, agent_id, wanted.as_of):
            return await self._of_the_past(partition, query, wanted, places)
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

    async def _of_the_past(
        self, present: Partition, query: str, wanted: EpisodicFilter, places: Sequence[float]
    ) -> list[bytes]:
        """Return the states at these places of what was there at a moment and may have retired."""
        assert wanted.as_of is not None
        assert present.agent_id is not None
        agent_id = present.agent_id
        retired = retired_of(self._indexes, agent_id)
        conditions = (*episodic_conditions(wanted), still_there(wanted.as_of))
        # Retired last: what retires meanwhile is among both, and counts once.
        found = await self._ids(present, query)
        found |= await self._ids(retired, retired.query(*conditions))
        in_order = sorted(found)
        at = [min(int(place * len(in_order)), len(in_order) - 1) for place in places if in_order]
        names = [(found[in_order[i]], in_order[i]) for i in at]
        states = await states_of(self._reads, agent_id, names)
        decode = self._indexes.stored_as.decode
        return [decode(state) for state in states if state is not None]

    async def _ids(self, partition: Partition, query: str) -> dict[int, str]:
        """Return the ids of all that match by `seq`, in windows that let others through."""
        found: dict[int, str] = {}
        while True:
            last = max(found, default=0)
            command = (
                *("FT.SEARCH", partition.schema.alias, f"({query} @seq:[({last} inf])"),
                *("SORTBY", "seq", "ASC", "RETURN", 2, "seq", "record", "LIMIT", 0, WINDOW),
                *("DIALECT", 2, "TIMEOUT", self._timeout_ms),
            )

            async def ask(node: RedisNode, command: Words = command) -> list[Any]:
                replies = await self._indexes.ask(node, partition.schema, [command])
                return replies[0] if replies else [0]

            reply = await self._reads.read_indexes(partition.schema.route, ask)
            rows = [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in reply[2::2] if flat]
            found |= {int(row[b"seq"]): orjson.loads(row[b"record"])["id"] for row in rows}
            if len(reply) < 2 * WINDOW:
                return found


WINDOW = 1000
"""Memories read in one round trip."""

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
