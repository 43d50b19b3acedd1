"""Runs several calls at once, or one call repeatedly, on asyncio."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")
AsyncLock = asyncio.Lock


async def aside(function: Callable[[], T]) -> T:
    """Run in a thread what takes long, so that the event loop stays free."""
    return await asyncio.to_thread(function)


class AsyncLanes(Generic[T]):
    """Runs `function` for one argument after another, up to `count` at once.

    Leaving the block waits for those in progress and raises their first error. If the block itself
    fails or is cancelled, they are cancelled.
    """

    def __init__(self, count: int, function: Callable[[T], Awaitable[None]]) -> None:
        self._places = asyncio.Semaphore(count)
        self._function = function
        self._running: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None

    async def __aenter__(self) -> Self:
        return self

    async def start(self, argument: T) -> None:
        """Run it for this argument as soon as a slot is free. Raises an earlier call's error."""
        await self._places.acquire()
        if self._error is not None:
            self._places.release()
            raise self._error
        task = asyncio.create_task(self._run(argument))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def wait(self) -> None:
        """Wait until none is in progress. Raises their first error."""
        while self._running:
            await asyncio.wait(set(self._running))
        if self._error is not None:
            raise self._error

    async def __aexit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self.wait()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, argument: T) -> None:
        try:
            if self._error is None:
                await self._function(argument)
        except Exception as error:  # noqa: BLE001 - handed to the caller by wait()
            self._error = self._error or error
        finally:
            self._places.release()


class AsyncBackground:
    """Calls `function` again and again until the block is left; it returns the pause in seconds."""

    def __init__(self, function: Callable[[], Awaitable[float]]) -> None:
        self._function = function
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            pause_s = await self._function()
            await asyncio.sleep(pause_s)


class AsyncTicker:
    """Calls `function` every `interval_s` seconds until the block is left."""

    def __init__(self, interval_s: float, function: Callable[[], Awaitable[None]]) -> None:
        self._interval_s = interval_s
        self._function = function
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self._function()
