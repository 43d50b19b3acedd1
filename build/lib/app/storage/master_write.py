"""One round trip that writes to a master, and the wait until that is as safe as it has to be."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from app.durability import required
from app.errors import DurabilityNotReached, StorageTimeout, StorageUnavailable
from app.storage.change_channel import CHANNEL
from app.storage.readable import Guard
from app.storage.redis_errors import ScriptMissing, as_error, translated
from app.storage.redis_node import RedisNode
from app.storage.replication import INFO_COMMAND, is_replica, token_of
from app.storage.waiting import Wait, Waiting

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
        moved: Callable[[str], None],
        waiting: Waiting,
    ) -> None:
        self._guard_of = guard_of
        self._moved = moved
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
        await node.until_writable(self._waiting.remaining_s)
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
                    f"The write may exist, but the Redis node {node.name} was replaced: repeating "
                    "the same request is safe.",
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
            node.doubt()
            raise
        finally:
            # Also when the outcome is unknown: the write may have happened.
            for partition in told:
                self._moved(partition)
        replies = [as_error(reply) for reply in raw]
        own, rest = replies[: len(commands)], replies[len(commands) + len(told) :]
        if is_replica(rest[0]):
            # What it says is there may be what it is about to discard.
            node.doubt()
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
