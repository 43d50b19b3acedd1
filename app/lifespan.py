"""Every long-lived object: made once, closed in reverse order, handed to the routes."""

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from app import query_metrics
from app.api.dependencies import Services, State
from app.assembly import assemble
from app.authentication import Entrance
from app.errors import ConfigurationError
from app.settings import Settings
from app.storage.embedded import embedded_redis

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
            urls = await _urls(settings, stack)
            services = await assemble(settings, urls, stack, entrance)
            _calm_garbage_collector()
            yield State(services=services)

    return lifespan


async def start(settings: Settings, stack: AsyncExitStack) -> Services:
    """The service's operations without HTTP; the stack ends them. Raises StartError."""
    return await assemble(settings, await _urls(settings, stack), stack)


async def _urls(settings: Settings, stack: AsyncExitStack) -> list[str]:
    """The address of the master, then those of the replicas; started here when embedded."""
    if settings.redis_url is not None:
        return [url.get_secret_value() for url in (settings.redis_url, *settings.replica_urls)]
    if settings.embedded_topology == "cluster":
        raise ConfigurationError("The service does not work on a cluster yet: choose replicas.")
    topology = await stack.enter_async_context(embedded_redis(settings))
    return [node.url for node in (topology.master, *topology.replicas)]


def _calm_garbage_collector() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
