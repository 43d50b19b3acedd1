"""Moves a partition's index between FLAT and HNSW while it serves searches.

The new index is built beside the old one. Meanwhile the alias stays: writes go to both indexes,
searches to the old one. Once the new index is complete on the master and the replicas, the alias is
switched in one step and the old index dropped. An interruption at any point leaves the alias on a
complete index, and perhaps a second index without one; the next run continues from there. Two
processes at once run the same commands, all of which may be repeated.

A partition is searched exactly until that costs too much; then it moves to HNSW. It moves back only
when it has shrunk well below the threshold, so one that fluctuates around the threshold stays.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from app import keys
from app.errors import StorageError, StorageLoading, StorageTimeout, StorageUnavailable
from app.nodes.client import Client
from app.nodes.commands import ask_all, ask_one, slices
from app.nodes.groups.placement import all_agents
from app.nodes.job_lock import SHARE_OF_INTERVAL, JobLock
from app.nodes.jobs import OwnerFailures
from app.nodes.redis_errors import IndexMissing, translated
from app.nodes.shard import Shard, Shards
from app.storage.index import Indexes
from app.storage.index_info import own_index_names, read_info, unless_exists
from app.storage.schema import Algorithm, IndexInfo, IndexSchema

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.2
WHOLE_FOR_S = 2.0
"""Every process checks its replicas four times a second. So a replica that gets reads from any of
them is seen in rotation here, and waited for, within this time."""

STALLED_S = 300.0
"""An index that makes no progress for this long is dropped, and built again in a later run."""

AGENTS_SLICE = 500

LINKS_BYTES = 400
"""What a memory costs in HNSW (M 16) beyond FLAT: 374 bytes measured
(docs/benchmarks/large-partitions.md)."""

FREE_SHARE = 0.9
"""A new index must not fill Redis beyond this share, because writes would soon be refused."""

_REPLICA_IS_AWAY = (StorageUnavailable, StorageTimeout, StorageLoading)

KeepTurn = Callable[[], Awaitable[None]]
"""Called repeatedly while a move is in progress, to extend the job lock."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which index a partition's alias is on, how much it holds, and whether there is a second one.

    `size_bytes` is the size of the index behind the alias.
    """

    agent_id: str
    algorithm: Algorithm
    documents: int
    size_bytes: int
    has_second: bool


class IndexMover:
    """Moves indexes of the per-agent layout, each on the shard of its agent."""

    def __init__(self, shards: Shards, indexes: Indexes) -> None:
        self._shards = shards
        self._indexes = indexes

    async def worth_a_look(self, threshold: int) -> list[str]:
        """Return agents that wrote `threshold` memories or more (0: none), or have HNSW."""
        found: set[str] = set()
        for shard in self._shards:
            try:
                found |= await _worth_a_look(shard.master.client, threshold)
            except StorageError as error:
                if not shard.name:
                    raise
                logger.info("a group is away", extra={"group": shard.name, "cause": error.detail})
        return sorted(found)

    async def place(self, agent_id: str) -> Place | None:
        """Return where the agent's index is. None if it has no index."""
        schema = self._indexes.episodic(agent_id)
        master = self._shard_of(agent_id).master.client
        try:
            await self._indexes.look_again(master, schema)
            (info,) = await read_info(master, [schema.alias])
        except IndexMissing:
            return None
        here = self._indexes.current(schema)
        return Place(
            agent_id=agent_id,
            algorithm=here.algorithm,
            documents=info.documents,
            size_bytes=info.size_bytes,
            has_second=await _exists(master, _other(here)),
        )

    async def has_room(self, place: Place) -> bool:
        """Return whether Redis can hold both indexes during the move."""
        with translated():
            info = await self._shard_of(place.agent_id).master.client.info("memory")
        needed = place.size_bytes + LINKS_BYTES * place.documents
        limit = int(info["maxmemory"])
        return not limit or int(info["used_memory"]) + needed <= FREE_SHARE * limit

    async def move(self, place: Place, wanted: Algorithm, keep_turn: KeepTurn) -> None:
        """Switch the alias to the wanted algorithm, and drop the index that is left over.

        Raise StorageError, or IndexMissing if an index was dropped meanwhile; run again.
        """
        here = self._indexes.episodic(place.agent_id).as_(place.algorithm)
        target = here.as_(wanted)
        shard = self._shard_of(place.agent_id)
        # One master for the whole move. If another takes over, the next run continues there.
        master = shard.master.client
        if wanted != place.algorithm:
            if await unless_exists(master, target.create_command(scan=True)):
                logger.info(
                    "building an index beside the current one", extra={"index": target.name}
                )
            if not await _until_whole(master, shard, here, target, keep_turn):
                logger.warning(
                    "an index made no progress and is dropped", extra={"index": target.name}
                )
                await _drop(master, target)
                return
            await ask_one(master, "FT.ALIASUPDATE", target.alias, target.name)
            logger.info("index moved", extra={"index": target.name})
        (in_use,) = await read_info(master, [target.alias])
        if in_use.name == target.name:
            await _drop(master, _other(target))

    def _shard_of(self, agent_id: str) -> Shard:
        return self._shards.shard_of(keys.episodic_partition(agent_id))


async def _until_whole(
    master: Client, shard: Shard, here: IndexSchema, target: IndexSchema, keep_turn: KeepTurn
) -> bool:
    """Wait until the new index holds what the current one holds, on every node. Return False if
    stalled.

    Replicas count if they are in rotation at any check within WHOLE_FOR_S; any other is checked
    before it gets reads again.
    """
    whole_since: float | None = None
    further_at, progress = time.monotonic(), -1.0
    while True:
        await keep_turn()
        in_use, built = await read_info(master, [here.name, target.name])
        now = time.monotonic()
        if built.progress != progress:
            further_at, progress = now, built.progress
        replicas = [node.client for node in shard.replicas if node.status.in_rotation]
        is_whole = _is_whole(in_use, built) and await _are_whole(replicas, here, target)
        if not is_whole:
            whole_since = None
            if now - further_at > STALLED_S:
                return False
        elif whole_since is None:
            whole_since = now
        # Replicas out of rotation count, too, because they may come back meanwhile.
        is_alone = not shard.replicas
        if whole_since is not None and (is_alone or now - whole_since >= WHOLE_FOR_S):
            return True
        await asyncio.sleep(POLL_INTERVAL_S)


async def _are_whole(replicas: Sequence[Client], here: IndexSchema, target: IndexSchema) -> bool:
    for replica in replicas:
        try:
            in_use, built = await read_info(replica, [here.name, target.name])
        except (*_REPLICA_IS_AWAY, IndexMissing):  # out of rotation in a moment, or behind
            return False
        if not _is_whole(in_use, built):
            return False
    return True


async def _drop(master: Client, schema: IndexSchema) -> None:
    with suppress(IndexMissing):
        await ask_one(master, "FT.DROPINDEX", schema.name)
        logger.info("dropped an index that is not in use", extra={"index": schema.name})


async def _exists(master: Client, schema: IndexSchema) -> bool:
    with suppress(IndexMissing):
        await read_info(master, [schema.name])
        return True
    return False


async def _worth_a_look(master: Client, threshold: int) -> set[str]:
    found = {
        keys.index_owner(name.rpartition(":")[0])
        for name in await own_index_names(master)
        if name.startswith(f"{keys.EPISODIC_INDEX}:{{") and name.endswith(":hnsw")
    }
    if threshold:
        found |= await _who_wrote(master, await all_agents(master), threshold)
    return found


async def _who_wrote(master: Client, agents: Sequence[str], at_least: int) -> set[str]:
    """Return which of these agents ever wrote at least that many memories."""
    found: set[str] = set()
    for some in slices(agents, AGENTS_SLICE):
        written = await ask_all(
            master, [("HGET", keys.episodic_partition(agent_id), "seq") for agent_id in some]
        )
        found |= {a for a, seq in zip(some, written, strict=True) if int(seq or 0) >= at_least}
    return found


def _other(schema: IndexSchema) -> IndexSchema:
    return schema.as_("HNSW" if schema.algorithm == "FLAT" else "FLAT")


def _is_whole(in_use: IndexInfo, built: IndexInfo) -> bool:
    """Return whether the new index is complete and has as many memories as the current one."""
    return built.is_complete and built.documents == in_use.documents


JOB = "index_moves"
TURN_S = 10.0
"""How long a process that died with the job lock keeps others from continuing."""

BACK_SHARE = 0.5
"""Share of the threshold below which a partition moves back to FLAT."""


class PartitionMoves:
    """Decides which partitions move. With `threshold` 0 none moves to HNSW, and those on HNSW move
    back.

    Every process calls `run_in_turn` each `interval_s`; one of them works.
    """

    def __init__(
        self, mover: IndexMover, job_lock: JobLock, *, threshold: int, interval_s: float
    ) -> None:
        self._mover = mover
        self._job_lock = job_lock
        self._threshold = threshold
        self._interval_s = interval_s

    async def run_in_turn(self) -> None:
        """Move the partitions that must move, unless another process holds the job lock."""
        if not await self._job_lock.take(JOB, self._interval_s):
            return
        async with self._job_lock.returned_on_failure(JOB):
            failures = OwnerFailures("moving indexes")
            for agent_id in await self._mover.worth_a_look(self._threshold):
                await self._keep_turn()
                with failures.isolating(agent_id):
                    await self._look_at(agent_id)
        await self._job_lock.hold(JOB, self._interval_s * SHARE_OF_INTERVAL)

    async def _look_at(self, agent_id: str) -> None:
        try:
            place = await self._mover.place(agent_id)
            if place is not None:
                await self._settle(place)
        except IndexMissing:  # dropped by hand meanwhile: the next search or run rebuilds it
            logger.warning("an index disappeared during its move", extra={"agent": agent_id})

    async def _settle(self, place: Place) -> None:
        wanted = self._wanted(place)
        if wanted == place.algorithm and not place.has_second:
            return
        if wanted != place.algorithm and not await self._mover.has_room(place):
            logger.warning(
                "no room in Redis for a second index: the partition keeps its index",
                extra={"agent": place.agent_id, "algorithm": place.algorithm},
            )
            return
        await self._mover.move(place, wanted, self._keep_turn)

    def _wanted(self, place: Place) -> Algorithm:
        if self._threshold == 0:
            return "FLAT"
        if place.algorithm == "FLAT":
            return "HNSW" if place.documents > self._threshold else "FLAT"
        return "FLAT" if place.documents <= BACK_SHARE * self._threshold else "HNSW"

    async def _keep_turn(self) -> None:
        await self._job_lock.hold(JOB, TURN_S)
