"""Writes to a master in one round trip, then waits for the requested durability by WAIT and
WAITAOF.

Both commands wait for the latest write on their own connection, so they follow the write in the
same pipeline. A store that finds its memory already there writes nothing, and WAIT alone would
report success at once. But the PUBLISH that always precedes it is part of the replication stream,
so that everything up to this moment is waited for. https://redis.io/docs/latest/commands/wait/ and
https://redis.io/docs/latest/commands/waitaof/
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from app.context import Durability, required
from app.errors import DurabilityNotReached, StorageTimeout, StorageUnavailable
from app.metrics import DURABILITY_NOT_REACHED
from app.nodes.changes import CHANNEL
from app.nodes.history import INFO_COMMAND, is_replica, token_of
from app.nodes.node import RedisNode
from app.nodes.reads import Guards
from app.nodes.redis_errors import ScriptMissing, as_error, translated
from app.nodes.shard import Shards

MARGIN_MS = 130
"""Part of the request's time reserved for the answer: Redis checks its timeouts up to 0.1 s
late."""
LOOK_AGAIN_MS = 500
"""How long one WAIT counts on a replica that may have been lost since its last health check."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The commands sent after a write, and what their replies must show.

    `received` replicas must have received the write. `on_disks` replicas, besides the master, must
    have it on disk; None waits for no disk. `more_ms` remain for another wait, which may ask for
    fewer replicas.
    """

    received: int
    on_disks: int | None
    timeout_ms: int
    more_ms: int = 0

    @property
    def level(self) -> Durability:
        """Return the durability that this reaches."""
        return "replicated" if self.on_disks is None else "fsynced"

    @property
    def commands(self) -> list[tuple[str | int, ...]]:
        """Return the commands, which Redis runs one after the other."""
        wait = ("WAIT", self.received, self.timeout_ms)
        if self.on_disks is None:
            return [wait]
        wait_disks = ("WAITAOF", 1, self.on_disks, self.timeout_ms)
        # A replica that has it on disk has received it, and by then the others have it, too.
        rest_ms = min(self.timeout_ms, LOOK_AGAIN_MS)
        return [wait_disks, *([("WAIT", self.received, rest_ms)] if self._is_wider else [])]

    @property
    def _is_wider(self) -> bool:
        return self.on_disks is not None and self.received > self.on_disks

    def is_reached(self, replies: Sequence[Any]) -> bool:
        """Return whether Redis's replies to the commands show success."""
        if any(isinstance(reply, Exception) for reply in replies):
            return False
        if self.on_disks is None:
            return bool(replies[0] >= self.received)
        own, others = replies[0]
        has_disks = own >= 1 and others >= self.on_disks
        return bool(has_disks and (not self._is_wider or replies[1] >= self.received))

    def check(self, replies: Sequence[Any]) -> None:
        """Raise DurabilityNotReached unless the replies show success."""
        if self.is_reached(replies):
            return
        cause = next((reply for reply in replies if isinstance(reply, Exception)), None)
        DURABILITY_NOT_REACHED.labels(self.level).inc()
        raise DurabilityNotReached(
            f"The write may exist, but it is not {self.level} ({self._told(replies, cause)}): "
            "repeat it with the same id.",
            retry_after_s=1,
        ) from cause

    def _told(self, replies: Sequence[Any], cause: Exception | None) -> str:
        if cause is not None:
            return "its state is unknown"
        received = f"of {self.received} replicas have it"
        if self.on_disks is None:
            return f"{replies[0]} {received}"
        own, others = replies[0]
        where = "is" if own else "is not"
        disks = f"it {where} on the master's disk, and on that of {others} of {self.on_disks}"
        return f"{disks} replicas" + (f"; {replies[1]} {received}" if self._is_wider else "")


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many replicas each level requires at least, and how long to wait.

    `remaining_s` returns the seconds that the request has left; None means no limit.
    """

    replicas: int
    fsynced_replicas: int
    timeout_ms: int
    remaining_s: Callable[[], float | None]

    def wait(self, level: Durability, candidates: int = 0) -> Wait | None:
        """Return the wait for a write to a master. None if there is nothing to wait for.

        `candidates` is the number of promotable replicas, all of which must receive the write
        (app/nodes/history.py).
        """
        if level == "memory":
            return None
        if level == "fsynced":
            # Two commands within the time, without repeating them: each repetition would wait for
            # the next second's fsync.
            whole_ms = self._timeout_ms()
            time_ms = whole_ms - LOOK_AGAIN_MS if whole_ms > 2 * LOOK_AGAIN_MS else whole_ms // 2
            received = max(self.fsynced_replicas, candidates)
            return Wait(received, self.fsynced_replicas, max(1, time_ms))
        return self._received(candidates, self._timeout_ms())

    def longer(self, wait: Wait, candidates: int) -> Wait:
        """Return the next wait within the remaining time, at level `replicated`."""
        return self._received(candidates, min(wait.more_ms, self._timeout_ms()))

    def in_one_piece(self, replicas: int) -> Wait:
        """Return a single wait for this many replicas, at level `replicated`."""
        return Wait(max(self.replicas, replicas), None, self._timeout_ms())

    def _received(self, candidates: int, timeout_ms: int) -> Wait:
        may_be_fewer = candidates > self.replicas
        first_ms = min(timeout_ms, LOOK_AGAIN_MS) if may_be_fewer else timeout_ms
        return Wait(max(self.replicas, candidates), None, first_ms, timeout_ms - first_ms)

    def _timeout_ms(self) -> int:
        left_s = self.remaining_s()
        if left_s is None:
            return self.timeout_ms
        # 0 would wait forever.
        return max(1, min(self.timeout_ms, int(left_s * 1000) - MARGIN_MS))


NO_WAITING = Waiting(replicas=1, fsynced_replicas=0, timeout_ms=1000, remaining_s=lambda: None)
"""For commands, which write at level `memory`."""


Words = tuple[str | bytes | int | float, ...]


@dataclass(frozen=True, slots=True)
class _Replies:
    """The replies to the caller's commands (`own`, errors included), to WAIT and to WAITAOF."""

    own: list[object]
    token: str
    waited: list[object]

    @property
    def are_failures(self) -> bool:
        return bool(self.own) and all(isinstance(reply, Exception) for reply in self.own)

    @property
    def will_be_sent_again(self) -> bool:
        return any(isinstance(reply, ScriptMissing) for reply in self.own)


class MasterWriter:
    """Sends writes to masters.

    `invalidate` is called with each partition's key when a write may have happened; other processes
    learn of it through the change channel.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        guards: Guards,
        invalidate: Callable[[str], None],
        waiting: Waiting,
    ) -> None:
        self._shards = shards
        self._guards = guards
        self._invalidate = invalidate
        self._waiting = waiting

    @property
    def waits(self) -> bool:
        """Return whether the request needs more than the master's acknowledgement."""
        return self._waiting.wait(required()) is not None

    async def write(
        self,
        node: RedisNode,
        commands: Sequence[Words],
        partitions: Iterable[str],
        keys: Sequence[str | bytes],
    ) -> tuple[list[object], str]:
        """Send commands to a master, announce the changed partitions, and wait for the requested
        durability.

        `keys` are those that are written. Return the replies to the commands, errors in their
        places, and the token that covers them. Raise DurabilityNotReached if the durability was not
        reached.
        """
        await node.wait_for_fence(self._waiting.remaining_s)
        told = sorted(partitions)
        shard = self._shards.shard_of(told[0])
        wait = self._waiting.wait(required(), shard.candidates())
        replies = await self._round_trip(node, commands, told, wait)
        if wait is not None and not (replies.are_failures or replies.will_be_sent_again):
            await self._until_safe(node, told[0], wait, replies)
        if not replies.are_failures:
            node.journal.note(replies.token, keys)
        return replies.own, replies.token

    async def _until_safe(
        self, node: RedisNode, partition: str, wait: Wait, replies: _Replies
    ) -> None:
        """Keep waiting while there is time, for fewer replicas if one of them is lost."""
        history, shard = _history(replies), self._shards.shard_of(partition)
        while wait.more_ms > 0 and not wait.is_reached(replies.waited):
            wait = self._waiting.longer(wait, shard.candidates())
            replies = await self._round_trip(node, (), [partition], wait)
            if _history(replies) != history:
                raise DurabilityNotReached(
                    f"The write may exist, but the Redis node {node.name} was replaced: repeat it "
                    "with the same id.",
                    retry_after_s=1,
                )
        wait.check(replies.waited)

    async def _round_trip(
        self, node: RedisNode, commands: Sequence[Words], told: Sequence[str], wait: Wait | None
    ) -> _Replies:
        pipeline = (node.client if wait is None else node.waiting).pipeline(transaction=False)
        for words in commands:
            pipeline.execute_command(*words)
        for partition in told:
            pipeline.execute_command("PUBLISH", CHANNEL, partition)
        pipeline.execute_command(*INFO_COMMAND)
        for words in () if wait is None else wait.commands:
            pipeline.execute_command(*words)
        try:
            node.require_up()
            with self._guards.guard(node.name), translated():
                async with node.writing():
                    raw = await pipeline.execute(raise_on_error=False)
        except (StorageUnavailable, StorageTimeout):
            self._shards.shard_of(told[0]).suspect_master()
            raise
        finally:
            # Also if the result is unknown, because the write may have happened.
            for partition in told:
                self._invalidate(partition)
        replies = [as_error(reply) for reply in raw]
        own, rest = replies[: len(commands)], replies[len(commands) + len(told) :]
        if is_replica(rest[0]):
            # It may be about to discard the data that it reports.
            self._shards.shard_of(told[0]).suspect_master()
            raise StorageUnavailable(
                f"The Redis node {node.name} is a replica now: try again shortly.", retry_after_s=1
            )
        info, *waited = rest
        return _Replies(own, _token(node, info), waited)


def _history(replies: _Replies) -> str:
    return replies.token.partition(":")[0]


def _token(node: RedisNode, info: object) -> str:
    if isinstance(info, Exception):
        raise info
    token = token_of(info)
    node.has_confirmed(token)
    return token
