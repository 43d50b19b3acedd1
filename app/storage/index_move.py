"""Moves a partition's index between FLAT and HNSW, with its searches served throughout.

The new index is built beside the old one while the alias stays where it is: every write goes into
both, every search to the old one. Once the new one is whole, on the master and on the replicas,
the alias is switched in one step and the old one dropped. Whatever ends this in the middle leaves
an alias on a whole index, and maybe a second index without one: the next run goes on from there.
Two processes at once run the same commands, each of which may be repeated.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import redis.exceptions as foreign
from redis.asyncio import Redis

from app.errors import StorageLoading, StorageTimeout, StorageUnavailable
from app.storage import keys
from app.storage.agents import all_agents
from app.storage.client import execute
from app.storage.index import Indexes, read_info
from app.storage.index_report import own_index_names
from app.storage.pipelines import ask_all
from app.storage.redis_errors import IndexMissing, translate, translated
from app.storage.schema import Algorithm, IndexInfo, IndexSchema

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.2
WHOLE_FOR_S = 2.0
"""Every process looks at its replicas four times a second, so a replica that gets reads from any
of them is seen in rotation here, and waited for, within this time."""

STALLED_S = 300.0
"""An index that gets no further for so long is dropped, and built anew in a later run."""

AGENTS_SLICE = 500

LINKS_BYTES = 400
"""HNSW's links and labels for one vector, M 16, beside the vector itself: 330 to 370 measured."""

FREE_SHARE = 0.9
"""A building index must not fill Redis further: beyond, writes are soon refused."""

_REPLICA_IS_AWAY = (StorageUnavailable, StorageTimeout, StorageLoading)

KeepTurn = Callable[[], Awaitable[None]]
"""Called again and again while a move goes on."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which index the alias of a partition is on, how much it holds, and whether a second is there.

    `size_bytes` is that of the index behind the alias.
    """

    agent_id: str
    algorithm: Algorithm
    documents: int
    size_bytes: int
    has_second: bool


class IndexMover:
    """Moves indexes of the per-agent layout on one master."""

    def __init__(self, master: Redis, indexes: Indexes) -> None:
        self._master = master
        self._indexes = indexes

    async def worth_a_look(self, threshold: int) -> list[str]:
        """Agents that wrote at least so many memories (0: none), or have an HNSW index already."""
        found = {
            keys.index_owner(name.rpartition(":")[0])
            for name in await own_index_names(self._master)
            if name.startswith(f"{keys.EPISODIC_INDEX}:{{") and name.endswith(":hnsw")
        }
        agents = await all_agents(self._master) if threshold else []
        for start in range(0, len(agents), AGENTS_SLICE):
            some = agents[start : start + AGENTS_SLICE]
            written = await ask_all(
                self._master, [("HGET", keys.episodic_partition(a), "seq") for a in some]
            )
            found |= {a for a, seq in zip(some, written, strict=True) if int(seq or 0) >= threshold}
        return sorted(found)

    async def place(self, agent_id: str) -> Place | None:
        """Where the agent's index is; None while there is none to search."""
        schema = self._indexes.episodic(agent_id)
        try:
            await self._indexes.look_again(self._master, schema)
            (info,) = await read_info(self._master, [schema.alias])
        except IndexMissing:
            return None
        here = self._indexes.current(schema)
        return Place(
            agent_id=agent_id,
            algorithm=here.algorithm,
            documents=info.documents,
            size_bytes=info.size_bytes,
            has_second=await self._info(self._master, _other(here)) is not None,
        )

    async def has_room(self, place: Place) -> bool:
        """Whether Redis can hold both indexes for the time of the move."""
        with translated():
            info = await self._master.info("memory")
        needed = place.size_bytes + LINKS_BYTES * place.documents
        limit = int(info["maxmemory"])
        return not limit or int(info["used_memory"]) + needed <= FREE_SHARE * limit

    async def move(self, place: Place, wanted: Algorithm, keep_turn: KeepTurn) -> None:
        """Bring the alias to the wanted algorithm, and drop the index that is left over.

        Raises StorageError, IndexMissing when somebody dropped an index meanwhile: run again.
        """
        here = self._indexes.episodic(place.agent_id).as_(place.algorithm)
        target = here.as_(wanted)
        if wanted != place.algorithm:
            await self._create(target)
            if not await self._until_whole(here, target, keep_turn):
                logger.warning("an index got no further and is dropped", extra=_named(target))
                await self._drop(target)
                return
            with translated():
                await execute(self._master, "FT.ALIASUPDATE", target.alias, target.name)
            logger.info("index moved", extra=_named(target))
        await self._drop_other_than(target)

    async def _create(self, target: IndexSchema) -> None:
        try:
            await execute(self._master, *target.create_command(scan=True))
            logger.info("index is being built beside the one in use", extra=_named(target))
        except foreign.ResponseError as error:
            if "already exists" not in str(error).lower():
                raise translate(error) from error
        except foreign.RedisError as error:
            raise translate(error) from error

    async def _until_whole(
        self, here: IndexSchema, target: IndexSchema, keep_turn: KeepTurn
    ) -> bool:
        """Wait until the target holds what the index in use holds, on every node; False: stalled.

        Replicas count that are in rotation at any look within WHOLE_FOR_S; any other is checked
        before it gets reads again.
        """
        whole_since: float | None = None
        further_at, progress = time.monotonic(), -1.0
        while True:
            await keep_turn()
            in_use, built = await read_info(self._master, [here.name, target.name])
            now = time.monotonic()
            if built.progress != progress:
                further_at, progress = now, built.progress
            replicas = self._indexes.replicas_in_rotation()
            is_whole = _is_whole(in_use, built) and await self._are_whole(replicas, here, target)
            if not is_whole:
                whole_since = None
                if now - further_at > STALLED_S:
                    return False
            elif whole_since is None:
                whole_since = now
            if whole_since is not None and (not replicas or now - whole_since >= WHOLE_FOR_S):
                return True
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _are_whole(
        self, replicas: Sequence[Redis], here: IndexSchema, target: IndexSchema
    ) -> bool:
        for replica in replicas:
            try:
                in_use, built = await read_info(replica, [here.name, target.name])
            except (*_REPLICA_IS_AWAY, IndexMissing):  # out of rotation in a moment, or behind
                return False
            if not _is_whole(in_use, built):
                return False
        return True

    async def _drop_other_than(self, target: IndexSchema) -> None:
        """Drop the index that is not in use, if the alias is still where it should be."""
        (in_use,) = await read_info(self._master, [target.alias])
        if in_use.name == target.name:
            await self._drop(_other(target))

    async def _drop(self, schema: IndexSchema) -> None:
        with suppress(IndexMissing), translated():
            await execute(self._master, "FT.DROPINDEX", schema.name)
            logger.info("index that is not in use dropped", extra=_named(schema))

    async def _info(self, node: Redis, schema: IndexSchema) -> IndexInfo | None:
        with suppress(IndexMissing):
            (info,) = await read_info(node, [schema.name])
            return info
        return None


def _other(schema: IndexSchema) -> IndexSchema:
    return schema.as_("HNSW" if schema.algorithm == "FLAT" else "FLAT")


def _is_whole(in_use: IndexInfo, built: IndexInfo) -> bool:
    """Built, and as many memories as in the other: both were asked in one round trip."""
    return built.is_complete and built.documents == in_use.documents


def _named(schema: IndexSchema) -> dict[str, object]:
    return {"index": schema.name}
