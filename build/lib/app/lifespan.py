"""Every long-lived object: made once, closed in reverse order, handed to the routes."""

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from app import query_metrics
from app.api.dependencies import Services, State
from app.assembly import assemble
from app.authentication import Entrance
from app.settings import Settings
from app.storage.addresses import configured_addresses
from app.storage.embedded import embedded_redis
from app.storage.index import Indexes
from app.storage.shard import Shards
from app.storage.topology import connect

GC_THRESHOLDS = (50_000, 20, 100)
"""Python's default first threshold (700) starts a collection every few requests, and full ones of
the heap that the framework leaves took 40 ms (DESIGN.md section 2)."""


def lifespan_of(
    settings: Settings, entrance: Entrance
) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    """The lifespan for these settings. Raises StartError when the service cannot start."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        async with AsyncExitStack() as stack:
            query_metrics.limit_agents(settings.metrics_max_agents)
            shards, indexes = await _connect(settings, stack)
            services = await assemble(settings, shards, indexes, stack, entrance)
            _calm_garbage_collector()
            yield State(services=services)

    return lifespan


async def start(settings: Settings, stack: AsyncExitStack) -> Services:
    """The service's operations without HTTP; the stack ends them. Raises StartError."""
    shards, indexes = await _connect(settings, stack)
    return await assemble(settings, shards, indexes, stack)


async def _connect(settings: Settings, stack: AsyncExitStack) -> tuple[Shards, Indexes]:
    """The Redis that the settings name; started here when it is the embedded one."""
    addresses = configured_addresses(settings)
    if addresses is None:
        topology = await stack.enter_async_context(embedded_redis(settings))
        addresses = topology.addresses
    return await connect(settings, addresses, stack)


def _calm_garbage_collector() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
