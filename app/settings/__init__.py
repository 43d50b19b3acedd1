"""All settings, read once from the environment (`MEMORY_...`) and `.env`, then frozen.

The application (app/api/app.py), the commands and the embedded Redis take a `Settings`; every other
part is handed the values that it needs.
"""

from app.settings.fields import (
    ENV_FILE,
    ENV_PREFIX,
    EmbeddedTopologyName,
    Layout,
    RedisUrl,
    Settings,
    VectorType,
)
from app.settings.load import OF_CLIENTS, OF_TESTS, load_settings

__all__ = [
    "ENV_FILE",
    "ENV_PREFIX",
    "OF_CLIENTS",
    "OF_TESTS",
    "EmbeddedTopologyName",
    "Layout",
    "RedisUrl",
    "Settings",
    "VectorType",
    "load_settings",
]
