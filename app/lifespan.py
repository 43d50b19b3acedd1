"""Every long-lived object: made once, closed in reverse order, handed to the routes."""

import gc
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from redis.asyncio import Redis

from app.api.dependencies import Services, State
from app.memory.access_counting import AccessCounting
from app.memory.episodic import EpisodicOperations
from app.memory.episodic_query import EpisodicQueryOperations
from app.memory.health import HealthOperations
from app.memory.outcome import OutcomeOperations
from app.memory.periodic import periodically
from app.memory.semantic import SemanticOperations
from app.memory.semantic_query import SemanticQueryOperations
from app.read_path.stage import OneByOne
from app.settings import Settings
from app.storage.access_store import AccessStore
from app.storage.client import create_redis
from app.storage.embedded import embedded_redis
from app.storage.engine import require_engine
from app.storage.episodic_store import EpisodicStore
from app.storage.index import Indexes
from app.storage.memory_query import MemoryQuery
from app.storage.memory_store import MemoryStore
from app.storage.node_health import describe_indexes, describe_node
from app.storage.semantic_store import SemanticStore
from app.storage.turns import Turns
from app.storage.vector_search import VectorSearch

GC_THRESHOLDS = (50_000, 20, 100)
"""Python's default first threshold (700) starts a collection every few requests, and full ones of
the heap that the framework leaves took 40 ms (DESIGN.md section 2)."""


def lifespan_of(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    """The lifespan for these settings. Raises StartError when the service cannot start."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        async with AsyncExitStack() as stack:
            services = await _start(settings, stack)
            _calm_garbage_collector()
            yield State(services=services)

    return lifespan


async def _start(settings: Settings, stack: AsyncExitStack) -> Services:
    if settings.redis_url is not None:
        url = settings.redis_url.get_secret_value()
    else:
        url = (await stack.enter_async_context(embedded_redis(settings))).url
    master = create_redis(url, client_name="coinswarm-memory", settings=settings)
    stack.push_async_callback(master.aclose)
    await require_engine(master)
    indexes = Indexes(
        master, layout=settings.layout, dimension=settings.dimension, wait_s=settings.index_wait_s
    )
    await indexes.verify()
    counting = await stack.enter_async_context(_access_counting(settings, master))
    return _assemble(settings, master, indexes, counting)


@asynccontextmanager
async def _access_counting(settings: Settings, master: Redis) -> AsyncIterator[AccessCounting]:
    """The counters with their background jobs; nothing uncounted stays behind at the end."""
    fold_interval_s = settings.access_fold_interval_s
    counting = AccessCounting(
        AccessStore(master, process=uuid.uuid4().hex),
        Turns(master),
        fold_interval_s=fold_interval_s,
        now=time.time,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(counting.close)
        for action, interval_s, name in (
            (counting.flush, settings.access_flush_interval_s, "sending counters"),
            (counting.fold_in_turn, fold_interval_s, "folding counters"),
        ):
            await stack.enter_async_context(periodically(action, interval_s, name))
        yield counting


def _assemble(
    settings: Settings, master: Redis, indexes: Indexes, counting: AccessCounting
) -> Services:
    timeout_ms, dimension, now = settings.search_timeout_ms, settings.dimension, time.time
    recall = OneByOne(VectorSearch(master, name="master", indexes=indexes, timeout_ms=timeout_ms))
    query = MemoryQuery(master, indexes=indexes, timeout_ms=timeout_ms)
    store = MemoryStore(master)
    episodic_store = EpisodicStore(store, indexes)
    semantic_store = SemanticStore(store, indexes)
    return Services(
        episodic=EpisodicOperations(
            store=episodic_store, recall=recall, dimension=dimension, now=now
        ),
        episodic_query=EpisodicQueryOperations(query=query, indexes=indexes, now=now),
        outcome=OutcomeOperations(episodic_store, now),
        semantic=SemanticOperations(
            store=semantic_store, recall=recall, accesses=counting, dimension=dimension, now=now
        ),
        semantic_query=SemanticQueryOperations(query=query, indexes=indexes),
        health=HealthOperations(
            {
                "master": lambda: describe_node(master),
                "index": lambda: describe_indexes(master, indexes),
            }
        ),
    )


def _calm_garbage_collector() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
