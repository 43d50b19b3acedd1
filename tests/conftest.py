"""One real Redis for the whole run; each test starts with it empty."""

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from redis.asyncio import Redis

from app.api.app import GC_THRESHOLDS, create_app
from app.embedded import EmbeddedNode, embedded_redis
from app.resident.loading import load_compiled
from app.server.uvicorn_server import BoundedHttp
from app.settings import OF_TESTS, Settings
from tests.browser.chromium import MISSING, find_chromium
from tests.kit.service_process import NO_TLS

# Without a browser the console's tests are left out, which the run's last line says.
collect_ignore = [] if find_chromium() else ["browser"]

hypothesis_settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("any machine")

COMPILED = ("app.resident.kernel", "app.memory.estimates.compiled")


def pytest_configure(config: pytest.Config) -> None:
    """Compile what a service compiles in the background, once and before any test."""
    load = import_module if hasattr(config, "workerinput") else load_compiled
    for name in COMPILED:
        load(name)


DIMENSION = 8
"""Small in tests: what is tested does not depend on it."""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine's user reaches a test."""
    names = [name for name in os.environ if name.upper().startswith("MEMORY_")]
    for name in set(names) - OF_TESTS:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _calm_garbage_collector() -> Iterator[None]:
    """As a service does at its start, once: a full collection of the tests' heap at the start of
    each service in this process took longer than the rest of it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.api.app._calm_garbage_collector", lambda: None)
        yield


@pytest.fixture(scope="session")
async def redis_node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedNode]:
    """The run's Redis."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("redis"))
    async with embedded_redis(settings) as topology:
        yield topology.master


@pytest.fixture(scope="module")
async def empty_node(redis_node: EmbeddedNode) -> EmbeddedNode:
    """The run's Redis without what other modules left there: their vectors may be of another type,
    on which a service refuses to start."""
    async with Redis.from_url(redis_node.url, protocol=2) as client:
        await client.flushall()
    return redis_node


@pytest.fixture
async def redis(redis_node: EmbeddedNode) -> AsyncIterator[Redis]:
    """A client of the run's Redis, emptied."""
    client = Redis.from_url(redis_node.url, protocol=2)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def settings(redis_node: EmbeddedNode, redis: Redis) -> Settings:
    """Settings of a service on the run's Redis, as a test's starting point."""
    return Settings(redis_url=redis_node.url, dimension=DIMENSION)


class _Server(uvicorn.Server):
    """One that ends when it is told to, where uvicorn's own looks ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_to_end = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are pytest's."""
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Raises RuntimeError when the service does not start: the exit that uvicorn asks for would
        end the event loop of all later tests."""
        try:
            await super().serve(sockets)
        except SystemExit as error:
            raise RuntimeError("the service did not start") from error

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.is_to_end.wait()


@asynccontextmanager
async def running_service(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The service with its whole lifespan on a free port of loopback; yields a client of it."""
    config = uvicorn.Config(
        create_app(settings),
        port=0,
        log_config=None,
        access_log=False,
        http=BoundedHttp(settings),  # type: ignore[arg-type]
        ws="none",
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if task.done():
                await task
                raise RuntimeError("the service did not start")
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, timeout=30, verify=NO_TLS) as client:
            yield client
    finally:
        server.is_to_end.set()
        await task


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a fresh service on an empty Redis."""
    async with running_service(settings) as client:
        yield client


@pytest.fixture
def vector() -> Callable[[int], list[float]]:
    """`vector(seed)`: a random vector of the tests' dimension, the same for the same seed."""

    def make(seed: int) -> list[float]:
        return [float(x) for x in np.random.default_rng(seed).normal(size=DIMENSION)]

    return make


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was left out for lack of a browser."""
    if find_chromium() is None:
        terminalreporter.write_line(MISSING, red=True, bold=True)
