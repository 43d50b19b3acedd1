"""The lock on a background job, which one of several service processes runs at a time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from app import keys
from app.errors import MemoryServiceError
from app.nodes.commands import Script, ask_one
from app.nodes.shard import Shards

MS_PER_S = 1000
SHARE_OF_INTERVAL = 0.9
"""Shorter than the interval, so that the last holder may also be the next one."""


class JobLock:
    """Locks on background jobs, held in Redis."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._hold = Script("hold_turn")

    async def take(self, job: str, interval_s: float) -> bool:
        """Return whether the caller holds the job's lock now: one of all callers per interval.

        A holder that dies delays the job by one interval. Raise StorageError.
        """
        lasts_ms = max(1, int(interval_s * SHARE_OF_INTERVAL * MS_PER_S))
        return bool(await self._set(job, "taken", lasts_ms, "NX"))

    @asynccontextmanager
    async def returned_on_failure(self, job: str) -> AsyncIterator[None]:
        """Release the lock if the block raises, so that the job is tried again soon."""
        try:
            yield
        except Exception:
            with suppress(MemoryServiceError):  # then the lock expires by itself
                await self.release(job)
            raise

    async def release(self, job: str) -> None:
        """Release the lock, so that the job may run at once. Raise StorageError."""
        key = keys.job_lock(job)
        await ask_one(self._shards.shard_of(key).master.client, "DEL", key)

    async def hold(self, job: str, seconds: float) -> None:
        """Keep everyone, including the caller, from the job for this long. Raise StorageError."""
        await self._set(job, "held", max(1, int(seconds * MS_PER_S)))

    async def _set(self, job: str, value: str, lasts_ms: int, *condition: str) -> object:
        key = keys.job_lock(job)
        master = self._shards.shard_of(key).master.client
        return await self._hold.run(master, [key], (value, *condition, "PX", lasts_ms))
