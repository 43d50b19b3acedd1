"""One round trip that writes to a master, and the wait until that is as safe as it has to be.

Waits until a write is as safe as its request asks for: WAIT and WAITAOF.

Both wait for what their own connection wrote last, so they go out right behind the write, in the
same pipeline. A store that finds its memory there writes nothing, and WAIT alone would answer at
once that all is well; the PUBLISH that goes out before it in any case is part of what replicas get,
so that everything up to this moment is waited for.
https://redis.io/docs/latest/commands/wait/ and https://redis.io/docs/latest/commands/waitaof/
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
from app.nodes.reads import Guard
from app.nodes.redis_errors import ScriptMissing, as_error, translated

MARGIN_MS = 130
"""Of the request's time, for the answer: Redis looks a tenth of a second late at its clock."""
LOOK_AGAIN_MS = 500
"""How long one WAIT counts on a replica that may have been lost since it was last looked at."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What is sent behind a write, and what its replies must show.

    `received`: how many replicas must have got the write; `on_disks`: how many must have it on
    their disks besides the master, None: no disk is waited for. `more_ms` are left for another one
    that may ask for fewer replicas.
    """

    received: int
    on_disks: int | None
    timeout_ms: int
    more_ms: int = 0

    @property
    def level(self) -> Durability:
        """What is reached with it."""
        return "replicated" if self.on_disks is None else "fsynced"

    @property
    def commands(self) -> list[tuple[str | int, ...]]:
        """For Redis, which does one after the other."""
        wait = ("WAIT", self.received, self.timeout_ms)
        if self.on_disks is None:
            return [wait]
        wait_disks = ("WAITAOF", 1, self.on_disks, self.timeout_ms)
        # Who has it on disk has received it. When the disks have it the others have it long since.
        rest_ms = min(self.timeout_ms, LOOK_AGAIN_MS)
        return [wait_disks, *([("WAIT", self.received, rest_ms)] if self._is_wider else [])]

    @property
    def _is_wider(self) -> bool:
        return self.on_disks is not None and self.received > self.on_disks

    def is_reached(self, replies: Sequence[Any]) -> bool:
        """Whether Redis's replies to the commands say that it is so."""
        if any(isinstance(reply, Exception) for reply in replies):
            return False
        if self.on_disks is None:
            return bool(replies[0] >= self.received)
        own, others = replies[0]
        has_disks = own >= 1 and others >= self.on_disks
        return bool(has_disks and (not self._is_wider or replies[1] >= self.received))

    def check(self, replies: Sequence[Any]) -> None:
        """Raise DurabilityNotReached unless it is reached."""
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
            return "nothing is known of it"
        received = f"of {self.received} replicas have it"
        if self.on_disks is None:
            return f"{replies[0]} {received}"
        own, others = replies[0]
        where = "is" if own else "is not"
        disks = f"it {where} on the master's disk, and on that of {others} of {self.on_disks}"
        return f"{disks} replicas" + (f"; {replies[1]} {received}" if self._is_wider else "")


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many replicas each level asks for at least, and for how long it is waited.

    `remaining_s` gives the seconds that the request has left, None: no limit.
    """

    replicas: int
    fsynced_replicas: int
    timeout_ms: int
    remaining_s: Callable[[], float | None]

    def wait(self, level: Durability, candidates: int = 0) -> Wait | None:
        """For a write to a master; None: nothing is waited for.

        `candidates`: replicas that may be promoted in its place; all of them must have received it
        (app/nodes/history.py).
        """
        if level == "memory":
            return None
        if level == "fsynced":
            # Two commands within the time. Not in pieces: of what is written behind the write each
            # would wait for the next second.
            whole_ms = self._timeout_ms()
            time_ms = whole_ms - LOOK_AGAIN_MS if whole_ms > 2 * LOOK_AGAIN_MS else whole_ms // 2
            received = max(self.fsynced_replicas, candidates)
            return Wait(received, self.fsynced_replicas, max(1, time_ms))
        return self._received(candidates, self._timeout_ms())

    def longer(self, wait: Wait, candidates: int) -> Wait:
        """The next one within the time that is left to one at `replicated`."""
        return self._received(candidates, min(wait.more_ms, self._timeout_ms()))

    def in_one_piece(self, replicas: int) -> Wait:
        """At `replicated`, for so many replicas."""
        return Wait(max(self.replicas, replicas), None, self._timeout_ms())

    def _received(self, candidates: int, timeout_ms: int) -> Wait:
        may_be_fewer = candidates > self.replicas
        first_ms = min(timeout_ms, LOOK_AGAIN_MS) if may_be_fewer else timeout_ms
        return Wait(max(self.replicas, candidates), None, first_ms, timeout_ms - first_ms)

    def _timeout_ms(self) -> int:
        left_s = self.remaining_s()
        if left_s is None:
            return self.timeout_ms
        # 0 would wait for ever.
        return max(1, min(self.timeout_ms, int(left_s * 1000) - MARGIN_MS))


NO_WAITING = Waiting(replicas=1, fsynced_replicas=0, timeout_ms=1000, remaining_s=lambda: None)
"""For commands, which write at the level `memory`."""


Words = tuple[str | bytes | int | float, ...]


@dataclass(frozen=True, slots=True)
class _Replies:
    """`own` to the caller's commands, errors in their places; `waited` to WAIT and WAITAOF."""

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
    """Sends writes to masters. `moved` is told each partition's key when a write may have happened;
    other processes hear of it through the change channel."""

    def __init__(
        self,
        *,
        guard_of: Callable[[str], Guard],
        invalidate: Callable[[str], None],
        waiting: Waiting,
    ) -> None:
        self._guard_of = guard_of
        self._invalidate = invalidate
        self._waiting = waiting

    @property
    def waits(self) -> bool:
        """Whether this request's level asks for more than that the master has it."""
        return self._waiting.wait(required()) is not None

    async def write(
        self,
        node: RedisNode,
        commands: Sequence[Words],
        partitions: Iterable[str],
        keys: Sequence[str | bytes],
    ) -> tuple[list[object], str]:
        """Send commands to a master, tell everyone which partitions moved, and ask how far it is.

        `keys` are those that are written to. The replies to the commands, errors in their places,
        and the token that covers them. Raises DurabilityNotReached when they are not as safe as
        the request asks for.
        """
        await node.wait_for_fence(self._waiting.remaining_s)
        wait = self._waiting.wait(required(), node.candidates())
        told = sorted(partitions)
        replies = await self._round_trip(node, commands, told, wait)
        if wait is not None and not (replies.are_failures or replies.will_be_sent_again):
            await self._until_safe(node, told[0], wait, replies)
        if not replies.are_failures:
            node.journal.note(replies.token, keys)
        return replies.own, replies.token

    async def _until_safe(
        self, node: RedisNode, partition: str, wait: Wait, replies: _Replies
    ) -> None:
        """Wait on while there is time: for fewer, when a replica that was counted on is lost."""
        history = _history(replies)
        while wait.more_ms > 0 and not wait.is_reached(replies.waited):
            wait = self._waiting.longer(wait, node.candidates())
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
            with self._guard_of(node.name)(), translated():
                async with node.writing():
                    raw = await pipeline.execute(raise_on_error=False)
        except (StorageUnavailable, StorageTimeout):
            node.suspect()
            raise
        finally:
            # Also when the outcome is unknown: the write may have happened.
            for partition in told:
                self._invalidate(partition)
        replies = [as_error(reply) for reply in raw]
        own, rest = replies[: len(commands)], replies[len(commands) + len(told) :]
        if is_replica(rest[0]):
            # What it says is there may be what it is about to discard.
            node.suspect()
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
