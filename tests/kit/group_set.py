"""Several real groups of Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.embedded import EmbeddedTopology, embedded_redis
from app.settings import Settings
from tests.conftest import DIMENSION


@asynccontextmanager
async def group_set(
    folder: Path, *, groups: int = 3, replicas: int = 0
) -> AsyncIterator[EmbeddedTopology]:
    """Groups that know nothing of each other; those with replicas share three Sentinels."""
    settings = Settings(
        data_dir=folder,
        embedded_topology="groups",
        embedded_groups=groups,
        embedded_replicas=replicas,
    )
    async with embedded_redis(settings) as started:
        yield started


def settings_of(nodes: EmbeddedTopology, **more: Any) -> Settings:
    """Settings of a service on these groups."""
    return Settings(groups=nodes.addresses.as_settings()["GROUPS"], dimension=DIMENSION, **more)
