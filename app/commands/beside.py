"""The service's operations in a command, even while a service runs on the same embedded Redis."""

from contextlib import AsyncExitStack

from app.connect import settings_beside
from app.errors import DataFolderInUse
from app.service import Services, start
from app.settings import Settings


async def start_beside(settings: Settings, stack: AsyncExitStack) -> Services:
    """Start the operations on the Redis of the settings. Raise StartError.

    If MEMORY_REDIS_URL is unset, that is the embedded Redis: the one of the service that runs on
    MEMORY_DATA_DIR, or one that is started here.
    """
    try:
        return await start(settings, stack)
    except DataFolderInUse as error:
        return await start(settings_beside(settings, error), stack)
