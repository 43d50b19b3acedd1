"""A memory is read, changed and written back; again, when somebody else did so meanwhile."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson

from app.errors import MemoryNotFound, Overloaded
from app.storage.episodic_store import EpisodicRecord, EpisodicStore
from app.storage.memory_store import StoredHash

MAX_TRIES = 5
"""Two callers that change the same memory collide once; more is somebody's endless loop."""

Change = Callable[[EpisodicRecord], EpisodicRecord]
"""What a record becomes; the same record where nothing changes."""

Write = Callable[[str, str, StoredHash, EpisodicRecord], Awaitable[str | None]]
"""Of agent, id, what was read, and what it becomes: the token, or None when it has changed."""


@dataclass(frozen=True, slots=True)
class ChangedMemory:
    """A memory as it is now; `token` is None when it was so already."""

    record: bytes
    token: str | None


async def changed_memory(
    store: EpisodicStore, agent_id: str, memory_id: str, *, change: Change, write: Write
) -> ChangedMemory:
    """Change one memory, or find that it is so already. Raises MemoryNotFound, Overloaded."""
    for _ in range(MAX_TRIES):
        read = await store.fetch(agent_id, memory_id)
        if read is None:
            raise MemoryNotFound(f"Agent {agent_id} has no memory {memory_id}: check both names.")
        record: EpisodicRecord = orjson.loads(read.record)
        changed = change(record)
        if changed == record:
            await store.confirm(agent_id)
            return ChangedMemory(read.record, None)
        token = await write(agent_id, memory_id, read, changed)
        if token is not None:
            return ChangedMemory(orjson.dumps(changed), token)
    raise Overloaded("Others keep changing this memory: try again.", retry_after_s=1)
