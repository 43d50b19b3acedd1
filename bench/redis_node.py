"""The packaged Redis alone, without the service in front."""

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.embedded import embedded_redis
from app.errors import MemoryServiceError
from app.settings import Settings
from bench.processor_time import REDIS, service_processes

START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class RedisNode:
    """A running node. `url` is its loopback TCP address, the way a client of another host goes."""

    url: str
    process_ids: list[int]


@contextmanager
def running_redis() -> Iterator[RedisNode]:
    """Run a node on an empty temporary folder, as the service would (append-only file on).

    It is watched by a thread of its own, so that callers need no event loop.
    Raises app.errors.EmbeddedRedisError.
    """
    with tempfile.TemporaryDirectory(prefix="coinswarm-bench-") as folder:
        background = _Background(Settings(data_dir=Path(folder)))
        try:
            yield background.node()
        finally:
            background.stop()


class _Background:
    """The node's event loop, in a thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._is_settled = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._node: RedisNode | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def node(self) -> RedisNode:
        """Wait for the node."""
        self._is_settled.wait(START_TIMEOUT_S)
        if self._node is None:
            raise self._error or TimeoutError("the packaged Redis did not start")
        return self._node

    def stop(self) -> None:
        """End the node and wait for that."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        try:
            async with embedded_redis(self._settings) as topology:
                guard = topology.master.process.pid
                ids = service_processes(guard)[REDIS]
                self._node = RedisNode(topology.master.tcp_url, ids)
                self._is_settled.set()
                await self._end.wait()
        except MemoryServiceError as error:
            self._error = error
        finally:
            self._is_settled.set()
