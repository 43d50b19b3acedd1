"""Runs several calls at once, or one call repeatedly, in threads."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")
Lock = threading.Lock


def aside(function: Callable[[], T]) -> T:
    """Run what takes long. Here nothing else waits for it."""
    return function()


class Lanes(Generic[T]):
    """Runs `function` for one argument after another, up to `count` at once.

    Leaving the block waits for those in progress and raises their first error. If the block itself
    fails, those that have not begun never do.
    """

    def __init__(self, count: int, function: Callable[[T], None]) -> None:
        self._places = threading.BoundedSemaphore(count)
        self._function = function
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="coinswarm")
        self._running: set[Future[None]] = set()
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def start(self, argument: T) -> None:
        """Run it for this argument as soon as a slot is free. Raises an earlier call's error."""
        self._places.acquire()
        if self._error is not None:
            self._places.release()
            raise self._error
        future = self._threads.submit(self._run, argument)
        self._running.add(future)
        future.add_done_callback(self._running.discard)

    def wait(self) -> None:
        """Wait until none is in progress. Raises their first error."""
        wait(list(self._running))
        if self._error is not None:
            raise self._error

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def _run(self, argument: T) -> None:
        try:
            if self._error is None:
                self._function(argument)
        except Exception as error:  # noqa: BLE001 - handed to the caller by wait()
            self._error = self._error or error
        finally:
            self._places.release()


class Background:
    """Calls `function` again and again until the block is left; it returns the pause in seconds."""

    def __init__(self, function: Callable[[], float]) -> None:
        self._function = function
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="coinswarm-replica", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            self._is_over.wait(self._function())


class Ticker:
    """Calls `function` every `interval_s` seconds until the block is left."""

    def __init__(self, interval_s: float, function: Callable[[], None]) -> None:
        self._interval_s = interval_s
        self._function = function
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="coinswarm-ticker", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(self._interval_s):
            self._function()
