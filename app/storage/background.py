"""Tasks that run beside the requests, and their end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

logger = logging.getLogger(__name__)

CANCEL_AGAIN_S = 0.1


@asynccontextmanager
async def running(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Run this work while the context is open.

    A cancellation that meets a timeout of redis-py at the same moment is taken for that timeout
    and lost (seen: services that did not end on SIGTERM), so it is repeated until it counts.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(_tell_of_failure)
    try:
        yield
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_AGAIN_S)
        if not task.cancelled():
            task.result()


def _tell_of_failure(task: asyncio.Task[None]) -> None:
    """At once: whoever waits for the end of the context may wait for days."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("a background task has ended: restart the service", exc_info=error)
