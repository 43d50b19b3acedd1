"""Work that is done again and again in the background."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from app.errors import MemoryServiceError

logger = logging.getLogger(__name__)

CANCEL_INTERVAL_S = 0.1


@asynccontextmanager
async def periodically(
    action: Callable[[], Awaitable[object]], interval_s: float, name: str
) -> AsyncIterator[None]:
    """Do the action every `interval_s`, first after that time, until the block ends.

    The service's own errors are logged and the next turn tries again. An action that is under way
    when the block ends is cancelled, so it must be one that can be.
    """
    task = asyncio.create_task(_repeat(action, interval_s, name), name=name)
    task.add_done_callback(_log_failure)
    try:
        yield
    finally:
        # redis-py 8.1 loses a cancellation now and then: ask until the task is over.
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_INTERVAL_S)


async def _repeat(action: Callable[[], Awaitable[object]], interval_s: float, name: str) -> None:
    while True:
        await asyncio.sleep(interval_s)
        try:
            await action()
        except MemoryServiceError as error:
            logger.warning("%s failed, tried again in %g s: %s", name, interval_s, error.detail)


def _log_failure(task: "asyncio.Task[None]") -> None:
    """Anything else is a fault of the service and ends the job: say so at once."""
    if not task.cancelled() and task.exception() is not None:
        logger.error(
            "%s ended: no more until a restart", task.get_name(), exc_info=task.exception()
        )
