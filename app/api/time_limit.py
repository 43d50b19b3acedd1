"""Ends requests that take too long, with one timer for all of them.

`asyncio.timeout` creates, starts and stops a timer per request. With its two coroutines that costs
5 us of the 70 us that the service spends on a search (docs/benchmarks/hotpath.md).
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any


class TimeLimits:
    """The time limits of the current requests in one event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: set[TimeLimit] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at_s = 0.0

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop, looked up once: in Python 3.11 that is a system call."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def begin(self, limit: "TimeLimit") -> None:
        """Watch this limit, and make sure that the timer fires no later."""
        self._under_way.add(limit)
        if self._timer is None or limit.at_s < self._fires_at_s:
            self._set_timer(limit.at_s)

    def end(self, limit: "TimeLimit") -> None:
        """Stop watching this limit. The timer may still fire, and then finds nothing to do."""
        self._under_way.discard(limit)

    def _set_timer(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at_s = at_s
        self._timer = self.loop.call_at(at_s, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now_s = self.loop.time()
        for limit in [limit for limit in self._under_way if limit.at_s <= now_s]:
            self._under_way.discard(limit)
            limit.expire()
        if self._under_way:
            self._set_timer(min(limit.at_s for limit in self._under_way))


SCOPE_KEY = "time_limit"


def lift_time_limit(scope: MutableMapping[str, Any]) -> None:
    """Lift this request's limit: its answer is a stream that lasts as long as its caller reads."""
    limit: TimeLimit = scope[SCOPE_KEY]
    limit.lift()


class TimeLimit:
    """Cancels the enclosed request's task at `at_s` (the loop's clock).

    Leaving the block then raises TimeoutError, by the rules of `asyncio.timeout`: a cancellation
    from elsewhere is passed on.
    """

    __slots__ = ("_cancelling", "_limits", "_task", "at_s", "is_over")

    def __init__(self, limits: TimeLimits, at_s: float) -> None:
        self._limits = limits
        self.at_s = at_s
        self.is_over = False

    def __enter__(self) -> "TimeLimit":
        task: asyncio.Task[Any] | None = asyncio.current_task(self._limits.loop)
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._limits.begin(self)
        return self

    def lift(self) -> None:
        """Remove the limit."""
        self._limits.end(self)

    def expire(self) -> None:
        """Cancel the task: its time is over."""
        self.is_over = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        self._limits.end(self)
        if not self.is_over:
            return
        is_alone = self._task.uncancel() <= self._cancelling
        if is_alone and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error
