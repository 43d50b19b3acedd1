"""Background jobs: restarted after a failure, and reported in /readyz and the metrics.

A failed job restarts after a pause that doubles with each failure. The latest result of each job is
kept here, in one list per process, as its metrics are.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

from app.errors import ExtraMissing, MemoryServiceError, StorageError
from app.metrics import JOB_FAILURES, JOB_LAST_SUCCESS, JOB_OWNERS_FAILED

logger = logging.getLogger(__name__)

CANCEL_AGAIN_S = 0.1

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""Pauses after failures grow from the first to the longest, doubling each time."""

OWNERS_IN_A_ROW = 3
"""A storage that fails for this many owners in a row is taken to fail for all."""

MAX_FAILED_OWNERS = 20
"""How many owners a report names."""


class Job:
    """One job and its latest result. Times are unix seconds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.last_success: float | None = None
        self.failures_in_a_row = 0
        self.detail: str | None = None
        JOB_LAST_SUCCESS.labels(name)  # from the start, so that an alert sees it was never done

    def succeeded(self) -> None:
        """Record that a round of the job succeeded."""
        self.failures_in_a_row, self.detail = 0, None
        self.last_success = time.time()
        JOB_LAST_SUCCESS.labels(self.name).set(self.last_success)

    def failed(self, error: Exception) -> float:
        """Record a failure. Return the seconds to wait before the job restarts."""
        self.failures_in_a_row += 1
        # The text of an unexpected error may hold what a caller stored.
        known = isinstance(error, MemoryServiceError | OSError)
        self.detail = _text(error) if known else type(error).__name__
        JOB_FAILURES.labels(self.name).inc()
        doublings = min(self.failures_in_a_row - 1, 16)
        return min(FIRST_PAUSE_S * 2.0**doublings, LONGEST_PAUSE_S)

    def as_json(self) -> Mapping[str, object]:
        """Return the job's part of /readyz."""
        if not self.failures_in_a_row:
            return {"status": "ok", "last_success": self.last_success}
        return {
            "status": "degraded",
            "last_success": self.last_success,
            "failures_in_a_row": self.failures_in_a_row,
            "detail": self.detail,
        }


class Jobs:
    """The jobs that run in this process. Several may share a name: one per node."""

    def __init__(self) -> None:
        self._running: list[Job] = []

    @contextmanager
    def entered(self, name: str) -> Iterator[Job]:
        """Keep a job in the list while the context is open."""
        job = Job(name)
        self._running.append(job)
        try:
            yield job
        finally:
            self._running.remove(job)

    async def probe(self) -> Mapping[str, object]:
        """Return the part of /readyz, which is `degraded` while a job fails and then names it."""
        told: dict[str, Mapping[str, object]] = {}
        for job in self._running:
            if job.name not in told or job.failures_in_a_row:
                told[job.name] = job.as_json()
        is_well = all(one["status"] == "ok" for one in told.values())
        return {"status": "ok" if is_well else "degraded", "jobs": told}


JOBS = Jobs()


@asynccontextmanager
async def running(
    work: Callable[[Job], Coroutine[object, object, None]], name: str
) -> AsyncIterator[None]:
    """Run this work while the context is open; restart it after an error.

    The work ends when it returns, and reports each success to its job. redis-py may confuse a
    cancellation with its own timeout and lose it (seen: services that did not end on SIGTERM), so
    the cancellation is repeated until it takes effect.
    """
    task = asyncio.create_task(_keep_going(work, name))
    try:
        yield
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_AGAIN_S)
        if not task.cancelled():
            task.result()


@asynccontextmanager
async def periodically(
    action: Callable[[], Awaitable[object]],
    interval_s: float,
    name: str,
    *,
    begins_at_once: bool = False,
) -> AsyncIterator[None]:
    """Run the action every `interval_s` until the block ends, first after that time.

    A failed action is retried sooner if the interval is long. One in progress at the end is
    cancelled, so the action must allow that.
    """

    async def repeat(job: Job) -> None:
        pause_s = 0.0 if begins_at_once else interval_s
        while True:
            await asyncio.sleep(pause_s)
            pause_s = await _once(action, interval_s, job)

    async with running(repeat, name):
        yield


class OwnerFailures:
    """Keeps a failure for one owner from ending a job. Logs, counts and names failures."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._in_a_row = 0
        self.count = 0
        self.named: list[str] = []

    @contextmanager
    def isolating(self, owner: str) -> Iterator[None]:
        """Record what fails in this block, and continue.

        Raise errors that affect every owner: a missing package, and a storage that failed for
        OWNERS_IN_A_ROW owners in a row.
        """
        try:
            yield
        except ExtraMissing:
            raise
        except Exception as error:
            self._in_a_row += 1
            if isinstance(error, StorageError) and self._in_a_row >= OWNERS_IN_A_ROW:
                raise
            self._note(owner, error)
        else:
            self._in_a_row = 0

    def _note(self, owner: str, error: Exception) -> None:
        self.count += 1
        JOB_OWNERS_FAILED.labels(self._job).inc()
        if len(self.named) < MAX_FAILED_OWNERS:
            self.named.append(f"{owner}: {_text(error)}")
        unexpected = None if isinstance(error, MemoryServiceError | ValueError) else error
        logger.warning(
            "%s: skipped for one owner: %s",
            self._job,
            _text(error),
            extra={"owner": owner},
            exc_info=unexpected,
        )


async def _once(action: Callable[[], Awaitable[object]], interval_s: float, job: Job) -> float:
    """Run the action. Return the seconds until the next time."""
    try:
        await action()
    except (MemoryServiceError, OSError) as error:
        pause_s = min(job.failed(error), interval_s)
        # Log the first, second, fourth, eighth failure, so that a job does not fill the log.
        if job.failures_in_a_row.bit_count() == 1:
            logger.warning("%s failed, tried again in %g s: %s", job.name, pause_s, _text(error))
        return pause_s
    except Exception as error:
        pause_s = job.failed(error)
        logger.exception("%s failed, tried again in %g s", job.name, pause_s)
        return pause_s
    job.succeeded()
    return interval_s


async def _keep_going(work: Callable[[Job], Coroutine[object, object, None]], name: str) -> None:
    with JOBS.entered(name) as job:
        while True:
            try:
                await work(job)
            except Exception as error:
                pause_s = job.failed(error)
                logger.exception("%s failed, started again in %g s", name, pause_s)
            else:
                return
            await asyncio.sleep(pause_s)


def _text(error: Exception) -> str:
    return error.detail if isinstance(error, MemoryServiceError) else str(error) or repr(error)
