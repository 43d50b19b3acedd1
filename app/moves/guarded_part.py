"""What an attempt at a move may write to in one Redis: one agent's part, while it is the latest."""

from collections.abc import Iterable, Mapping, Sequence

from app import keys
from app.errors import StorageUnavailable
from app.nodes.client import Client, execute
from app.nodes.commands import Script, Word
from app.nodes.redis_errors import translated


class AttemptEnded(StorageUnavailable, may_have_happened=False):
    """Another attempt at this move has begun, or ended it. This one has written nothing more."""


class GuardedPart:
    """The part of one Redis that a move may write to: this agent's, while `held` stands there."""

    def __init__(self, node: Client, agent_id: str, held: str) -> None:
        self.node = node
        self.agent_id = agent_id
        self._held = held
        self._release = Script("release_part")
        self._write = Script("write_copy")
        self._remove = Script("remove_copy")
        self._expiring = Script("write_expiring")
        self._feed = Script("restart_feed")

    @classmethod
    async def arriving(cls, node: Client, agent_id: str, attempt: int) -> "GuardedPart":
        """Return the part that this attempt copies the agent to, where writes are held back now.

        Raise AttemptEnded if the agent lives there or a later attempt has begun, or StorageError.
        """
        moving = [keys.MOVING, keys.episodic_partition(agent_id)]
        held = await Script("arrive").run(node, moving, (agent_id, attempt))
        if held is None:
            raise _ended()
        return cls(node, agent_id, held.decode())

    async def is_held(self) -> bool:
        """Return whether that stands there now. Raise StorageError."""
        with translated():
            held = await execute(self.node, "HGET", keys.MOVING, self.agent_id)
        return held is not None and held.decode() == self._held

    async def release(self) -> None:
        """End this attempt, unless another one has begun. Raise StorageError."""
        await self._release.run(self.node, [keys.MOVING], (self.agent_id, self._held))

    async def write(self, hashes: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """Make each of these keys what is given; an empty hash removes it.

        Raise AttemptEnded if something else is held back there now, or StorageError.
        """
        words: list[Word] = [self.agent_id, self._held]
        for fields in hashes.values():
            words += [2 * len(fields), *(word for item in fields.items() for word in item)]
        if not await self._write.run(self.node, [keys.MOVING, *hashes], words):
            raise _ended()

    async def remove(self, names: Iterable[str], *, removes_name: bool = False) -> None:
        """Remove these keys and, if asked, the agent's name, also from a full Redis.

        Raise AttemptEnded if something else is held back there now, or StorageError.
        """
        words = (self.agent_id, self._held, int(removes_name))
        if not await self._remove.run(self.node, [keys.MOVING, *names], words):
            raise _ended()

    async def write_expiring(
        self, key: str, fields: Sequence[tuple[bytes, bytes, int]], expires_at_ms: int
    ) -> None:
        """Write a hash whose fields expire, each with its moment (unix milliseconds; -1: never).

        Raise AttemptEnded or StorageError.
        """
        words: list[Word] = [self.agent_id, self._held, expires_at_ms]
        words += [word for field in fields for word in field]
        if not await self._expiring.run(self.node, [keys.MOVING, key], words):
            raise _ended()

    async def begin_feed(self) -> None:
        """Begin the change feed from its start. Raise AttemptEnded or StorageError."""
        stream = keys.episodic_changes(self.agent_id)
        words = (self.agent_id, self._held)
        if not await self._feed.run(self.node, [keys.MOVING, stream], words):
            raise _ended()


def _ended() -> AttemptEnded:
    return AttemptEnded("Another attempt at this move has begun.", retry_after_s=1)
