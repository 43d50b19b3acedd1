"""Runs jobs that somebody asked for: one at a time in each process, until nobody waits."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, Generic

from app.contract.jobs import AskedJob, JobStatus
from app.errors import MemoryServiceError, Overloaded
from app.evaluate.kept import ACTIVE, JobT, KeptJobs

logger = logging.getLogger(__name__)

MAX_WAITING = 8
"""Jobs of a process, the one that runs among them."""

TOLD_EVERY_S = 0.5

_FAULT = MemoryServiceError("The service failed: its log says why. Report that.")


class Turns:
    """The process's jobs of all kinds wait for one turn together."""

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(1)
        self.jobs: dict[str, asyncio.Task[None]] = {}

    def require_room(self) -> None:
        """Raise Overloaded if too many jobs wait already."""
        if len(self.jobs) >= MAX_WAITING:
            raise Overloaded(
                f"{MAX_WAITING} evaluations and fits are waiting or running: try again later.",
                retry_after_s=10,
            )

    async def aclose(self) -> None:
        """Cancel what is in progress."""
        jobs = list(self.jobs.values())
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


class JobRunner(Generic[JobT]):
    """Runs jobs of one kind."""

    def __init__(self, turns: Turns, kept: KeptJobs[JobT]) -> None:
        self._turns = turns
        self._kept = kept

    async def start(self, state: JobT, work: Callable[[JobT], Awaitable[None]]) -> None:
        """Start a job. `work` fills in its state. Raise Overloaded, StorageError."""
        self._turns.require_room()
        await self._kept.create(state)
        # An empty context, because the caller's deadline must not apply here.
        running = self._run(state.model_copy(), work)
        job = asyncio.create_task(running, context=Context())
        self._turns.jobs[state.id] = job
        job.add_done_callback(lambda _: self._turns.jobs.pop(state.id))

    async def _run(self, state: JobT, work: Callable[[JobT], Awaitable[None]]) -> None:
        """Work, and write down how far it is, until it is done or nobody wants it."""
        working = asyncio.create_task(self._in_turn(state, work))
        try:
            while True:
                await asyncio.wait({working}, timeout=TOLD_EVERY_S)
                is_over = working.done()
                if is_over and (fault := working.exception()) and state.status in ACTIVE:
                    logger.error("A job failed.", extra={"job": state.id}, exc_info=fault)
                    _set(state, "failed", _FAULT.problem())
                try:
                    if not await self._goes_on(state) or is_over:
                        break
                except MemoryServiceError as error:  # Redis may answer again before the key expires
                    logger.warning("A job's progress is not written: %s", error.detail)
                    await asyncio.sleep(TOLD_EVERY_S)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _goes_on(self, state: JobT) -> bool:
        """Write down how far a job is. Return False if it was deleted or nobody wants it.

        Raise StorageError.
        """
        if not await self._kept.update(state):
            return False
        if await self._kept.is_wanted(state.id):
            return True
        if state.status in ACTIVE:
            _set(state, "cancelled")
            await self._kept.update(state)
        return False

    async def _in_turn(self, state: JobT, work: Callable[[JobT], Awaitable[None]]) -> None:
        async with self._turns.turn:
            _set(state, "running")
            try:
                await work(state)
                _set(state, "done")
            except MemoryServiceError as error:
                _set(state, "failed", error.problem())


def progress_of(state: AskedJob) -> Callable[[int, int], None]:
    """Return what notes in a job how many steps are done, and of how many."""

    def note(done: int, total: int) -> None:
        state.done, state.total = done, total

    return note


def _set(state: AskedJob, status: JobStatus, problem: dict[str, Any] | None = None) -> None:
    state.status, state.problem = status, problem
