"""One client for many threads and tasks, and a service that dies under it."""

import asyncio
import os
import signal
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, cast

import numpy as np
import pytest

from app.embedded import EmbeddedNode
from app.embedded.node import free_port
from coinswarm_memory import AsyncMemory, Memory, ServiceUnreachable
from tests.client.conftest import states
from tests.conftest import DIMENSION
from tests.kit.service_process import ServiceProcess, service_process

THREADS, TASKS, ROUNDS = 50, 500, 4
RESTART_ROWS = int(os.environ.get("RESTART_ROWS", "4000"))
"""`make crash-client` has 20,000."""


@pytest.fixture(scope="module")
def known(memory: Memory) -> None:
    """Row i of the states has reward i."""
    memory.agent("crowd").remember_many(states(TASKS), reward=np.arange(float(TASKS)))


def test_fifty_threads_share_a_client(memory: Memory, known: None) -> None:
    me = memory.agent("crowd")

    def ask(thread: int) -> list[float | None]:
        return [me.recall(states(TASKS)[row], k=1)[0].reward for row in rows_of(thread)]

    def rows_of(thread: int) -> list[int]:
        return [(thread * 7 + turn * THREADS) % TASKS for turn in range(ROUNDS)]

    with ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(ask, range(THREADS)))
    assert answers == [[float(row) for row in rows_of(thread)] for thread in range(THREADS)]


async def test_five_hundred_tasks_share_a_client_and_some_are_cancelled(
    service: ServiceProcess, known: None
) -> None:
    some = states(TASKS)
    async with AsyncMemory(service.url, timeout_s=60, max_connections=20) as memory:
        me = memory.agent("crowd")

        async def ask(row: int) -> float | None:
            return (await me.recall(some[row], k=1))[0].reward

        assert await asyncio.gather(*map(ask, range(TASKS))) == list(map(float, range(TASKS)))
        for delay_s in (0.0, 0.005, 0.02):
            tasks = [asyncio.create_task(ask(row)) for row in range(100)]
            await asyncio.sleep(delay_s)
            for task in tasks[::2]:
                task.cancel()
            kept = await asyncio.gather(*tasks[1::2])
            assert kept == [float(row) for row in range(1, 100, 2)]
            await asyncio.gather(*tasks[::2], return_exceptions=True)
        assert await asyncio.gather(*map(ask, range(40))) == list(map(float, range(40)))


async def test_a_cancelled_bulk_store_leaves_nothing_running(
    service: ServiceProcess, known: None
) -> None:
    async with AsyncMemory(service.url, timeout_s=60) as memory:
        before = asyncio.all_tasks()
        store = asyncio.create_task(
            memory.agent("cancelled").remember_many(states(5000), batch=100, in_flight=8)
        )
        await asyncio.sleep(0.1)
        store.cancel()
        with pytest.raises(asyncio.CancelledError):
            await store
        new = {_file_of(task) for task in asyncio.all_tasks() - before if not task.done()}
        assert not {file for file in new if "coinswarm_memory" in file}
        assert await memory.is_ready()


def _file_of(task: asyncio.Task[object]) -> str:
    """Where a task's code is. Other tests' services in this process have tasks of their own."""
    return cast("types.CoroutineType[Any, Any, Any]", task.get_coro()).cr_code.co_filename


def test_what_is_wrong_for_good_ends_a_bulk_store(service: ServiceProcess) -> None:
    with Memory("http://127.0.0.1:9", dimension=DIMENSION) as nobody:
        before = threading.active_count()
        with pytest.raises(ServiceUnreachable):
            nobody.agent("a").remember_many(states(5000), patience_s=0.2)
        assert threading.active_count() <= before


@pytest.mark.timeout(300)
def test_a_service_that_dies_and_comes_back_loses_and_doubles_nothing(
    redis_node: EmbeddedNode, memory: Memory
) -> None:
    """Its Redis lives on; a service is killed in the middle and another takes its port."""
    some = states(RESTART_ROWS, seed=8)
    started, port = threading.Event(), free_port()
    with ExitStack() as stack:
        running = stack.enter_context(
            service_process(redis_url=redis_node.url, dimension=DIMENSION, port=port)
        )
        client = stack.enter_context(Memory(running.url))

        def kill_and_restart() -> None:
            started.wait(120)
            running.stop(signal.SIGKILL)
            time.sleep(0.3)
            stack.enter_context(
                service_process(redis_url=redis_node.url, dimension=DIMENSION, port=port)
            )

        killer = threading.Thread(target=kill_and_restart)
        killer.start()
        report = client.agent("survivor").remember_many(
            some,
            reward=np.arange(float(RESTART_ROWS)),
            batch=100,
            patience_s=120,
            progress=lambda progress: started.set() if progress.done > RESTART_ROWS // 4 else None,
        )
        killer.join()
        assert running.process.returncode == -signal.SIGKILL
        assert report.created + report.unchanged == RESTART_ROWS
        assert not report.refused
        found = client.agent("survivor").query(sort_by="reward", order="asc", page=1000)
        assert [memory.reward for memory in found] == list(map(float, range(RESTART_ROWS)))
