"""Work that is done again and again in the background."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from app.errors import MemoryServiceError
from app.storage.background import running

logger = logging.getLogger(__name__)


@asynccontextmanager
async def periodically(
    action: Callable[[], Awaitable[object]], interval_s: float, name: str
) -> AsyncIterator[None]:
    """Do the action every `interval_s`, first after that time, until the block ends.

    The service's own errors are logged and the next turn tries again; any other is a fault, which
    is logged at once, ends the work and is raised at the end of the block. An action that is under
    way then is cancelled, so it must be one that can be.
    """
    async with running(_repeat(action, interval_s, name)):
        yield


async def _repeat(action: Callable[[], Awaitable[object]], interval_s: float, name: str) -> None:
    while True:
        await asyncio.sleep(interval_s)
        try:
            await action()
        except MemoryServiceError as error:
            logger.warning("%s failed, tried again in %g s: %s", name, interval_s, error.detail)
        except Exception:
            logger.exception("%s ended: no more until a restart", name)
            raise
