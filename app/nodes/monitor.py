"""Checks the nodes of a shard, a master and its replicas, at short intervals.

A replica is in rotation while it follows the master, has loaded everything, its indexes are
complete and its lag is within bounds. Offsets and replication ids are explained in
https://redis.io/docs/latest/operate/oss_and_stack/management/replication/
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import redis.exceptions as foreign
from redis.asyncio import Redis

from app.errors import MemoryServiceError, StartError, StorageError
from app.metrics import NODE_UP, REPLICA_IN_ROTATION, REPLICA_LAG_BYTES
from app.nodes.engine_options import EngineOptions
from app.nodes.jobs import periodically
from app.nodes.node import MASTER, REPLICA, NodeStatus, RedisNode
from app.nodes.redis_errors import IndexMissing
from app.nodes.shard import Shard

logger = logging.getLogger(__name__)

LOOK_TIMEOUT_S = 0.5
MISSED_LOOKS = 3
HANGS_AFTER_LOOKS = 2
REMEMBERED_LOOKS = 240
CLOSE_BEHIND_S = 1.0
LOST_MASTER = "has lost its master"
LOST_DATA = "came back without its data"


IndexesReady = Callable[[Redis], Awaitable[bool]]
"""Says whether the indexes of a node hold all of its data."""

IsOwn = Callable[[Redis], Awaitable[bool]]
"""Says whether a Redis is that of the shard."""


class NodeMonitor:
    """Checks every node each `interval_s`. A replica more than `max_lag_bytes` behind gets no
    reads. `indexes_ready` is called for a node that may still be building indexes, `is_own` for a
    master's new process, which may have come back without its data.
    """

    def __init__(
        self,
        shard: Shard,
        *,
        interval_s: float,
        max_lag_bytes: int,
        options: EngineOptions,
        indexes_ready: IndexesReady,
        is_own: IsOwn | None = None,
    ) -> None:
        self._shard = shard
        self._interval_s = interval_s
        self._max_lag_bytes = max_lag_bytes
        self._options = options
        self._indexes_ready = indexes_ready
        self._is_own = is_own
        self._own_run = ""
        self._shown_roles: dict[str, str] = {}
        # The times of the master's checks, and its offset at each.
        self._master_offsets: deque[tuple[float, int]] = deque(maxlen=REMEMBERED_LOOKS)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Check once, then continue while the context is open."""
        await self.look()
        async with periodically(self.look, self._interval_s, "looking at nodes"):
            yield

    async def look(self) -> None:
        """Check every node once, concurrently."""
        await asyncio.gather(
            self._look_at_master(), *(self._look_at_replica(r) for r in self._shard.replicas)
        )
        master = self._shard.master
        # A long search, or a pause of this process, may cause one missed check.
        if master.missed_looks >= HANGS_AFTER_LOOKS and self._shard.standby is not None:
            master.give_up_reads()

    async def _look_at_master(self) -> None:
        node = self._shard.master
        looked_at_s = time.monotonic()
        try:
            info = await self._info(node)
            problem = await self._problem_of_master(node, info)
        except (foreign.RedisError, OSError, TimeoutError, StartError, StorageError) as error:
            node.note_look(is_answered=False)
            # One late reply does not mean that the master is dead; a refused connection does.
            is_up = isinstance(error, TimeoutError) and node.missed_looks < MISSED_LOOKS
            status = replace(node.status, is_up=is_up and node.status.is_up)
            self._set(node, replace(status, problem=_reason(error)))
            self._shard.suspect_master()
            return
        node.note_look(is_answered=True)
        is_master = info["role"] == "master"
        offset = int(info["master_repl_offset"])
        history_changed = info["master_replid"] != node.status.replication_id
        # A write may have been confirmed since Redis sent this reply.
        known = offset if history_changed else max(offset, node.status.offset)
        if history_changed:
            self._master_offsets.clear()
        self._master_offsets.append((looked_at_s, offset))
        status = NodeStatus(
            is_master=is_master,
            is_up=not info["loading"] and problem != LOST_DATA,
            in_rotation=problem is None and not info["loading"],
            caught_up_at_s=looked_at_s,
            replication_id=str(info["master_replid"]),
            previous_id=str(info["master_replid2"]),
            previous_id_until=int(info["second_repl_offset"]) - 1,
            offset=known,
            problem=problem,
        )
        self._set(node, status)
        if status.in_rotation:
            node.journal.has_reached(status.replication_id, offset)
        if not is_master:
            self._shard.suspect_master()
        elif not node.indexes_ready and not info["loading"]:
            node.set_indexes_ready(await self._is_whole(node))

    async def _problem_of_master(self, node: RedisNode, info: Mapping[str, Any]) -> str | None:
        """Return why the node must not be used as the master. None if it may."""
        if info["role"] != "master":
            return "is a replica now"
        if self._is_own is None or info["loading"] or info["run_id"] == self._own_run:
            return None
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            if not await self._is_own(node.probe):
                return LOST_DATA
        self._own_run = info["run_id"]
        return None

    async def _look_at_replica(self, node: RedisNode) -> None:
        before = node.status
        try:
            info = await self._info(node)
            node.promotability.saw(info, self._shard.master.status.replication_id)
            problem = await self._problem_of(node, info, before)
        except (foreign.RedisError, OSError, TimeoutError, IndexMissing, MemoryServiceError) as e:
            node.promotability.missed(e, self._shard.master.status.replication_id)
            node.set_indexes_ready(False)
            self._set(node, replace(before, is_up=False, in_rotation=False, problem=_reason(e)))
            return
        offset = int(info["master_repl_offset"])
        status = NodeStatus(
            is_master=False,
            is_up=not info["loading"],
            in_rotation=problem is None,
            caught_up_at_s=self._caught_up_at_s(str(info["master_replid"]), offset),
            replication_id=str(info["master_replid"]),
            offset=offset,
            lag_bytes=max(0, self._shard.master.status.offset - offset),
            problem=problem,
        )
        self._set(node, status)

    async def _info(self, node: RedisNode) -> Mapping[str, Any]:
        connection = node.connections_opened
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            info: Mapping[str, Any] = await node.probe.info("server", "replication", "persistence")
            if info["run_id"] != node.prepared_run and not info["loading"]:
                # Check its indexes again after a restart, which rebuilds them.
                if node.prepared_run:
                    node.set_indexes_ready(False)
                await self._options.set_on(node.probe)
                node.note_prepared(info["run_id"])
        if info["run_id"] == node.prepared_run:
            node.note_checked(connection)
        return info

    async def _problem_of(
        self, node: RedisNode, info: Mapping[str, Any], before: NodeStatus
    ) -> str | None:
        """Return why the replica must not get reads. None if it may."""
        problem = self._problem_in(info)
        if problem is None and before.in_rotation and node.indexes_ready:
            return None
        if problem is None and not self._is_close_behind(info):
            problem = "catches up with its master"
        if problem is None:
            node.set_indexes_ready(await self._indexes_ready(node.probe))
            return None if node.indexes_ready else "builds its indexes"
        if problem != LOST_MASTER:
            # Nobody waits for this replica now, so an index may be in use before it is built here.
            node.set_indexes_ready(False)
        elif not node.indexes_ready:
            node.set_indexes_ready(await self._indexes_ready(node.probe))
        return problem

    def _problem_in(self, info: Mapping[str, Any]) -> str | None:
        if info["loading"]:
            return "loads its data"
        if info["role"] != "slave":
            return f"is a {info['role']}"
        if info["master_link_status"] != "up":
            return LOST_MASTER
        if info["master_replid"] != self._shard.master.status.replication_id:
            return "follows another master"
        lag_bytes = self._shard.master.status.offset - int(info["master_repl_offset"])
        return f"is {lag_bytes} bytes behind" if lag_bytes > self._max_lag_bytes else None

    def _is_close_behind(self, info: Mapping[str, Any]) -> bool:
        """Return whether an index that the replica has not received yet cannot be in use yet
        either.

        A process that builds an index beside another waits for WHOLE_FOR_S before it uses it
        (app/storage/index_move.py).
        """
        has = self._caught_up_at_s(str(info["master_replid"]), int(info["master_repl_offset"]))
        return time.monotonic() - has < CLOSE_BEHIND_S

    def _caught_up_at_s(self, replication_id: str, offset: int) -> float:
        """Return the time of the latest check of the master at which the replica had everything."""
        if replication_id != self._shard.master.status.replication_id:
            return 0.0
        seen = (at_s for at_s, had in reversed(self._master_offsets) if had <= offset)
        return next(seen, 0.0)

    def _set(self, node: RedisNode, status: NodeStatus) -> None:
        before = node.status
        node.set_status(status)
        if before.is_up and not status.is_up:
            node.give_up_reads()  # a node that hangs would keep them waiting
        if (before.is_up, before.in_rotation) != (status.is_up, status.in_rotation):
            logger.info(
                "node changed",
                extra={
                    "node": node.name,
                    "is_up": status.is_up,
                    "in_rotation": status.in_rotation,
                    "problem": status.problem,
                },
            )
        role = MASTER if node is self._shard.master else REPLICA
        before_role = self._shown_roles.get(node.name, role)
        if before_role != role:
            _forget_role(node.name, before_role)
        self._shown_roles[node.name] = role
        NODE_UP.labels(node.name, role).set(status.is_up)
        if role == REPLICA:
            REPLICA_IN_ROTATION.labels(node.name).set(status.in_rotation)
            REPLICA_LAG_BYTES.labels(node.name).set(status.lag_bytes)

    async def _is_whole(self, node: RedisNode) -> bool:
        try:
            return await self._indexes_ready(node.probe)
        except (foreign.RedisError, OSError, MemoryServiceError, IndexMissing):
            return False  # the next check decides


def _forget_role(name: str, role: str) -> None:
    """Clear the metrics of the node's previous role; a stale value could mask or trigger an alert.

    (Workers that share their metrics cannot remove a label.)
    """
    NODE_UP.labels(name, role).set(math.nan)
    if role == REPLICA:
        REPLICA_IN_ROTATION.labels(name).set(math.nan)
        REPLICA_LAG_BYTES.labels(name).set(math.nan)


def _reason(error: BaseException) -> str:
    return f"does not answer ({type(error).__name__})"
