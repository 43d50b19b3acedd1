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
            services = await start(settings, stack, entrance)
            _calm_garbage_collector()
            yield State(services=services)

    return lifespan


async def start(
    settings: Settings, stack: AsyncExitStack, entrance: Entrance | None = None
) -> Services:
    """The service's operations without HTTP; the stack ends them. Raises StartError."""
    if settings.cluster_urls:
        seeds = [url.get_secret_value() for url in settings.cluster_urls]
        return await assemble(settings, seeds, stack, entrance, is_cluster=True)
    if settings.redis_url is not None:
        urls = [url.get_secret_value() for url in (settings.redis_url, *settings.replica_urls)]
        return await assemble(settings, urls, stack, entrance)
    topology = await stack.enter_async_context(embedded_redis(settings))
    urls = [node.tcp_url if topology.is_cluster else node.url for node in topology.nodes]
    return await assemble(settings, urls, stack, entrance, is_cluster=topology.is_cluster)


def _calm_garbage_collector() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
