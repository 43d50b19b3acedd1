"""Wakes readers that wait for an agent's next change, by the channel that announces writes.

A waiting reader holds no connection to Redis, because this process hears of writes anyway
(app/nodes/changes.py). So a thousand readers cost a thousand futures.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from app import keys
from app.errors import Overloaded

LOOK_AGAIN_S = 1.0
"""The longest that a reader sleeps before it checks whether this process is about to end."""


class ChangeSignal:
    """Readers by partition. At most `max_readers` may wait at the same time."""

    def __init__(self, max_readers: int) -> None:
        self._max_readers = max_readers
        self._count = 0
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def changed(self, partition: str) -> None:
        """Wake the readers of a partition that was, or may have been, written to."""
        for event in self._waiting.get(partition, ()):
            event.set()

    def all_changed(self) -> None:
        """Wake all readers, because writes may have been missed."""
        for partition in self._waiting:
            self.changed(partition)

    @contextmanager
    def watching(self, agent_id: str) -> Iterator[asyncio.Event]:
        """Yield an event that this agent's changes set. Raise Overloaded."""
        if self._count >= self._max_readers:
            raise Overloaded(
                f"{self._max_readers} readers wait for changes (MEMORY_FEED_MAX_READERS): try "
                "again later, or ask without wait_s.",
                retry_after_s=1,
            )
        partition, event = keys.episodic_partition(agent_id), asyncio.Event()
        self._waiting[partition].add(event)
        self._count += 1
        try:
            yield event
        finally:
            self._count -= 1
            self._waiting[partition].discard(event)
            if not self._waiting[partition]:
                del self._waiting[partition]


async def wait(event: asyncio.Event, at_most_s: float) -> bool:
    """Return whether the event was set within the time."""
    try:
        async with asyncio.timeout(at_most_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
