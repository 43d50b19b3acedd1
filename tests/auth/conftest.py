from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.settings import Settings
from tests.auth.keyed_service import KeyedService, keyed_service, with_keys


@pytest.fixture
async def service(settings: Settings, tmp_path: Path) -> AsyncIterator[KeyedService]:
    """A fresh service that asks for keys, on an empty Redis."""
    async with keyed_service(with_keys(settings, tmp_path)) as keyed:
        yield keyed
