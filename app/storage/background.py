"""Tasks that run beside the requests, and their end."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

CANCEL_AGAIN_S = 0.1


@asynccontextmanager
async def running(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Run this work while the context is open.

    A cancellation that meets a timeout of redis-py at the same moment is taken for that timeout
    and lost (seen: services that did not end on SIGTERM), so it is repeated until it counts.
    """
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_AGAIN_S)
        if not task.cancelled():
            task.result()
