"""One Redis node: its connections, and its state at the last health check."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from redis.asyncio import Redis

from app.errors import StorageTimeout, StorageUnavailable
from app.nodes.history import Promotability, WriteJournal
from app.nodes.shared_connection import SharedConnection

MASTER = "master"
REPLICA = "replica"
LOOK_AT_HOLD_S = 0.02


class RedisNode:
    """One node of a shard. Its name stays the same whatever its role.

    `client` serves requests. `waiting` serves writes that wait for replicas or disks, which block
    their connection meanwhile, so that they take none from other requests. `probe` serves health
    checks and agents' moves, so that a busy pool neither makes the node look dead nor ends a move.
    `shared` is the connection that searches share; without it they use `client`.
    """

    def __init__(
        self,
        name: str,
        *,
        client: Redis,
        waiting: Redis,
        probe: Redis,
        is_master: bool,
        has_fixed_role: bool = True,
        shared: SharedConnection | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.client = client
        self.waiting = waiting
        self.probe = probe
        self.status = NodeStatus(is_master=is_master, is_up=True)
        self.prepared_run = ""
        self.indexes_ready = False
        """Whether its indexes are known to hold all of its data. A replica that follows its master
        again may still be building an index that is in use; searches on such a node check the index
        in the same round trip."""
        self.missed_looks = 0
        self.shared = shared
        self._connection_checked = 0
        self.promotability = Promotability(clock)
        self.journal = WriteJournal()
        self._writes: set[asyncio.Timeout] = set()
        self.reads: set[asyncio.Timeout] = set()
        """Time limits of reads in progress, which are abandoned if the node hangs and another can
        answer."""
        self.has_fixed_role = has_fixed_role
        """Whether its role never changes by itself."""
        self._clock = clock
        self._held_until_s = -math.inf

    def set_status(self, status: "NodeStatus") -> None:
        """Record the node's state at its latest check."""
        self.status = status

    def set_indexes_ready(self, are_ready: bool) -> None:
        """Record whether its indexes hold all of its data."""
        self.indexes_ready = are_ready

    @property
    def has_whole_indexes(self) -> bool:
        """Return whether its indexes are known to hold all of its data at this moment.

        Not after the shared connection was lost, until the next check: the process may have
        started again, and indexes are then built again, without its answers saying so.
        """
        if not self.indexes_ready or self.shared is None:
            return self.indexes_ready
        return self.shared.is_open and self.shared.opened == self._connection_checked

    @property
    def connections_opened(self) -> int:
        """Return how many times the shared connection was opened."""
        return 0 if self.shared is None else self.shared.opened

    def note_checked(self, connection: int) -> None:
        """Record that the process behind this shared connection is the one that was checked."""
        self._connection_checked = connection

    def note_prepared(self, run_id: str) -> None:
        """Record that the engine's settings are set in this run of its process."""
        self.prepared_run = run_id

    def note_look(self, *, is_answered: bool) -> None:
        """Count the checks that it missed in a row."""
        self.missed_looks = 0 if is_answered else self.missed_looks + 1

    @property
    def label(self) -> str:
        """Return the node's name in answers; if roles move, preceded by its current role."""
        if self.has_fixed_role:
            return self.name
        return f"{MASTER if self.status.is_master else REPLICA} {self.name}"

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Run a write. Raise StorageTimeout, result unknown, if it is given up because the master
        was replaced.

        A node that hangs would keep it waiting.
        """
        async with _given_up_with(
            self._writes,
            f"The Redis node {self.name} was replaced during this write: try again, a store with "
            "the same id.",
        ):
            yield

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Run a read. Raise StorageTimeout if it is given up because the node hangs."""
        async with _given_up_with(
            self.reads, f"The Redis node {self.name} did not answer in time: try again."
        ):
            yield

    def give_up_writes(self) -> None:
        """End the writes in progress."""
        _give_up(self._writes)

    def give_up_reads(self) -> None:
        """End the reads in progress."""
        _give_up(self.reads)

    def fence_writes(self, until_s: float) -> None:
        """Hold back writes until this moment (monotonic clock). A later call may shorten it."""
        self._held_until_s = until_s

    async def wait_for_fence(self, remaining_s: Callable[[], float | None]) -> None:
        """Wait while writes are fenced.

        Raise StorageUnavailable, nothing written, if the request has less time left than that
        takes; raise StorageTimeout as `writing` does.
        """
        if self._clock() >= self._held_until_s:
            return
        async with self.writing():
            while (held_s := self._held_until_s - self._clock()) > 0:
                left_s = remaining_s()
                if left_s is not None and left_s <= held_s:
                    raise StorageUnavailable(
                        f"The Redis node {self.name} has just become the master: try again "
                        "shortly.",
                        retry_after_s=1,
                    )
                await asyncio.sleep(min(held_s, LOOK_AT_HOLD_S))

    def require_up(self) -> None:
        """Raise StorageUnavailable at once for a node that is known to be down."""
        if not self.status.is_up:
            raise StorageUnavailable(
                f"The Redis node {self.name} {self.status.problem or 'loads its data'}: try again "
                "shortly.",
                retry_after_s=1,
            )

    def has_confirmed(self, token: str) -> None:
        """Record a write that this token covers, without waiting for the next health check."""
        history, _, offset = token.partition(":")
        known = self.status
        if history != known.replication_id or int(offset) > known.offset:
            self.status = replace(known, replication_id=history, offset=int(offset))

    async def aclose(self) -> None:
        """Close its connections, including those in use. All are closed, also if one cannot be."""
        async with AsyncExitStack() as stack:
            for client in (self.probe, self.waiting, self.client):
                stack.push_async_callback(client.aclose)
            if self.shared is not None:
                stack.push_async_callback(self.shared.aclose)


@asynccontextmanager
async def _given_up_with(limits: set[asyncio.Timeout], sentence: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(None) as limit:
            limits.add(limit)
            try:
                yield
            finally:
                limits.discard(limit)
    except TimeoutError as error:
        raise StorageTimeout(sentence, retry_after_s=1) from error


def _give_up(limits: set[asyncio.Timeout]) -> None:
    now_s = asyncio.get_running_loop().time()
    for limit in limits:
        if not limit.expired():  # and is being cancelled
            limit.reschedule(now_s)


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node's state at the last health check.

    `is_master`: it takes writes. `is_up`: it answers, and its data is loaded. `in_rotation`: it is
    the master, or a replica close behind it. `caught_up_at_s`: it has everything written before
    this moment (monotonic clock). `replication_id` and `offset` name the exact version of its data.
    `problem` says why it is not in rotation.
    """

    is_master: bool
    is_up: bool = False
    in_rotation: bool = False
    caught_up_at_s: float = 0.0
    replication_id: str = ""
    previous_id: str = ""
    previous_id_until: int = -1
    offset: int = -1
    lag_bytes: int = 0
    problem: str | None = "not looked at yet"

    def covers(self, master: "NodeStatus") -> bool:
        """Return whether the node is in rotation and has all that its master is known to have."""
        has_all = self.replication_id == master.replication_id and self.offset >= master.offset
        return self.in_rotation and has_all

    def has_reached(self, token: str) -> bool | None:
        """Return whether the node has the write that this token was issued for.

        None if the token belongs to another history of the data, about which this node cannot tell.
        """
        replication_id, _, offset = token.partition(":")
        if replication_id == self.replication_id:
            return self.offset >= int(offset)
        if replication_id == self.previous_id and int(offset) <= self.previous_id_until:
            return True
        return None
