"""Three real groups of Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.embedded import EmbeddedTopology, embedded_redis
from app.settings import Settings
from tests.conftest import DIMENSION


@asynccontextmanager
async def group_set(folder: Path) -> AsyncIterator[EmbeddedTopology]:
    """Three groups that know nothing of each other."""
    async with embedded_redis(Settings(data_dir=folder, embedded_topology="groups")) as started:
        yield started


def settings_of(nodes: EmbeddedTopology, **more: Any) -> Settings:
    """Settings of a service on these groups."""
    return Settings(groups=nodes.addresses.as_settings()["GROUPS"], dimension=DIMENSION, **more)
