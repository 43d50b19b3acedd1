"""What the tests of random histories share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import strategies as st

from app.embedded import EmbeddedNode
from app.settings import Settings
from tests.conftest import DIMENSION, running_service
from tests.kit.fakes import ManualClock

vectors = st.lists(
    st.floats(-1, 1, width=32), min_size=DIMENSION, max_size=DIMENSION
).filter(lambda v: sum(x * x for x in v) > 0.01)  # fmt: skip


@asynccontextmanager
async def service_by_clock(
    node: EmbeddedNode, clock: ManualClock, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A service that takes this clock's time for now; each example empties the Redis behind it."""
    chosen = Settings(
        redis_url=node.url,
        dimension=DIMENSION,
        cache_enabled=False,  # nobody tells it that an example emptied the Redis
        **settings,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.service.time", SimpleNamespace(time=clock))
        async with running_service(chosen) as client:
            yield client
