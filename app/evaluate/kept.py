"""Requested jobs in Redis, so that every process of the service can report them.

A running evaluation is rewritten again and again; if its process dies, it soon expires. A deleted
one cannot be rewritten, so its process learns that it was cancelled.
"""

from typing import Any, Generic, Literal, TypeVar

from app import keys
from app.contract.jobs import AskedJob
from app.nodes.client import execute
from app.nodes.redis_errors import translated
from app.nodes.shard import Shards

ACTIVE = frozenset({"queued", "running"})
RUNNING_S = 30
FINISHED_S = 7 * 86_400
WANTED_S = 120
"""How long after the last poll an evaluation still counts as wanted."""


JobT = TypeVar("JobT", bound=AskedJob)
JobKind = Literal["evaluation", "fit"]


class KeptJobs(Generic[JobT]):
    """Stores and finds jobs of one kind by id."""

    def __init__(self, shards: Shards, kind: JobKind, model: type[JobT]) -> None:
        self._shards = shards
        self._kind = kind
        self._model = model

    async def create(self, job: JobT) -> None:
        """Store a new job, which is marked as wanted. Raise StorageError."""
        await self._write(job, RUNNING_S)
        await self._want(job.id)

    async def update(self, job: JobT) -> bool:
        """Store its progress. Return False if it was deleted. Raise StorageError."""
        kept_s = RUNNING_S if job.status in ACTIVE else FINISHED_S
        return await self._write(job, kept_s, "XX")

    async def is_wanted(self, name: str) -> bool:
        """Return whether somebody asked for it recently. Raise StorageError."""
        return bool(await self._ask(name, "EXISTS", self._wanted_key(name)))

    async def find(self, name: str) -> JobT | None:
        """Return a job, or None if it does not exist. Raise StorageError."""
        found = await self._ask(name, "GET", self._key(name))
        return None if found is None else self._model.model_validate_json(found)

    async def want(self, job: JobT) -> None:
        """Mark it as wanted, unless it is finished. Raise StorageError."""
        if job.status in ACTIVE:
            await self._want(job.id)

    async def delete(self, name: str) -> None:
        """Delete it, which cancels it if it is running. Raise StorageError."""
        await self._ask(name, "DEL", self._key(name), self._wanted_key(name))

    async def _want(self, name: str) -> None:
        await self._ask(name, "SET", self._wanted_key(name), 1, "EX", WANTED_S)

    async def _write(self, job: JobT, kept_s: int, *condition: str) -> bool:
        name, text = job.id, job.model_dump_json()
        words = (self._key(name), text, "EX", kept_s)
        return await self._ask(name, "SET", *words, *condition) is not None

    def _key(self, name: str) -> str:
        return keys.asked_job(self._kind, name)

    def _wanted_key(self, name: str) -> str:
        return keys.asked_job_wanted(self._kind, name)

    async def _ask(self, name: str, *words: str | int) -> Any:
        with translated():
            shard = self._shards.shard_of(self._key(name))
            return await execute(shard.master.client, *words)
