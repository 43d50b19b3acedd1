"""The service's operations in a command, also while a service runs on the same embedded Redis."""

from contextlib import AsyncExitStack

from app.connect import settings_beside
from app.errors import DataFolderInUse
from app.service import Services, start
from app.settings import Settings


async def start_beside(settings: Settings, stack: AsyncExitStack) -> Services:
    """Start the operations on the Redis of the settings. Raises StartError.

    With MEMORY_REDIS_URL unset that is the embedded Redis: that of the service that runs on
    MEMORY_DATA_DIR, or one that is started here.
    """
    try:
        return await start(settings, stack)
    except DataFolderInUse as error:
        return await start(settings_beside(settings, error), stack)
