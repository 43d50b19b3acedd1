"""Learned distances in Redis, and which of them the swarm goes by.

A distance stands with the agent from whose memories it was learned, and goes with that agent. The
promotions are one short list: as of a moment, the last one before it holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app import keys
from app.nodes.client import execute
from app.nodes.commands import Script, ask_all
from app.nodes.moving import run_where_it_is
from app.nodes.reads import ReadRouter
from app.nodes.redis_errors import translated

MAX_PROMOTIONS = 200
"""Earlier ones are forgotten: a question as of such a moment goes by the cosine distance."""

MAX_DISTANCES = 32
"""Of one agent: some 8 KB each."""

Document = dict[str, Any]
"""A decoded record."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """From `at` (unix seconds) on, the swarm goes by a distance of this agent, or by none."""

    at: float
    agent_id: str | None
    distance: str | None
    raw: bytes = b""


class DistanceStore:
    """Keeps distances. Writes go to the master, reads as other reads do."""

    def __init__(self, reads: ReadRouter) -> None:
        self._reads = reads
        self._keep = Script("keep_distance")
        self._remove = Script("remove_beside")

    async def born(self, agent_id: str) -> str:
        """Return what tells the agent's memory from a former one. Raise StorageError."""
        partition = keys.episodic_partition(agent_id)

        async def ask(node: Any) -> str:
            (found,) = await ask_all(node, [("HGET", partition, "born")])
            return (found or b"").decode()

        return await self._reads.read(partition, ask)

    async def keep(self, agent_id: str, name: str, record: Document) -> int:
        """Store a distance whose record holds `born`; see keep_distance.lua. Raise StorageError."""
        partition = keys.episodic_partition(agent_id)
        stands = (partition, keys.episodic_distances(agent_id))
        words = (name, orjson.dumps(record), record["born"], MAX_DISTANCES)
        return int(await run_where_it_is(self._reads.shards, self._keep, stands, words))

    async def find(self, agent_id: str, name: str) -> bytes | None:
        """Return the record of a distance, None if it does not exist. Raise StorageError."""
        return next(iter(await self._of(agent_id, "HMGET", name)), None)

    async def all_of(self, agent_id: str) -> list[bytes]:
        """Return the records of an agent's distances. Raise StorageError."""
        return await self._of(agent_id, "HVALS")

    async def delete(self, agent_id: str, name: str) -> bool:
        """Forget a distance. Return whether there was one. Raise StorageError."""
        stands = (keys.episodic_distances(agent_id),)
        words = (agent_id, name)
        return bool(await run_where_it_is(self._reads.shards, self._remove, stands, words))

    async def promote(self, at: float, agent_id: str | None, name: str | None) -> None:
        """Have the swarm go by this distance from now on. Raise StorageError."""
        event = orjson.dumps({"at": at, "agent_id": agent_id, "distance": name})
        with translated():
            master = self._master(keys.PROMOTIONS)
            await execute(master, "RPUSH", keys.PROMOTIONS, event)
            await execute(master, "LTRIM", keys.PROMOTIONS, -MAX_PROMOTIONS, -1)

    async def promoted(self, as_of: float | None) -> Promotion | None:
        """Return the promotion that held at a moment, or holds now. Raise StorageError."""
        first = -1 if as_of is None else 0

        async def ask(node: Any) -> Sequence[bytes]:
            (found,) = await ask_all(node, [("LRANGE", keys.PROMOTIONS, first, -1)])
            return list(found)

        held = None
        for raw in await self._reads.read(keys.PROMOTIONS, ask):
            event = Promotion(raw=raw, **orjson.loads(raw))
            if as_of is None or event.at <= as_of:
                held = event
        return held

    async def forget(self, promotion: Promotion) -> None:
        """Name no agent that is gone: from that promotion on none stands. Raise StorageError."""
        none = orjson.dumps({"at": promotion.at, "agent_id": None, "distance": None})
        place = ("LINSERT", keys.PROMOTIONS, "BEFORE", promotion.raw, none)
        remove = ("LREM", keys.PROMOTIONS, 0, promotion.raw)
        await ask_all(self._master(keys.PROMOTIONS), [place, remove])

    async def _of(self, agent_id: str, *words: str) -> list[bytes]:
        """Return records of the agent's distances, none of a former agent of the same name."""
        partition, key = keys.episodic_partition(agent_id), keys.episodic_distances(agent_id)
        command = (words[0], key, *words[1:])

        async def ask(node: Any) -> list[bytes]:
            counted, found = await ask_all(
                node, [("HMGET", partition, "memories", "retired", "born"), command]
            )
            memories = int(counted[0] or 0) + int(counted[1] or 0)
            born = (counted[2] or b"").decode()
            there = [raw for raw in found if raw is not None]
            if memories <= 0:
                return []
            return [raw for raw in there if orjson.loads(raw)["born"] == born]

        return await self._reads.read(partition, ask)

    def _master(self, key: str) -> Any:
        return self._reads.shards.shard_of(key).master.client
