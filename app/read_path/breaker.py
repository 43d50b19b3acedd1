"""A circuit breaker: avoids a node that fails or is slow for a while, then tries it with one call.

The states and their transitions:

    CLOSED     --consecutive failures, or a share of slow calls-->  OPEN
    OPEN       --open_s over: the next caller is the probe-->       HALF_OPEN
    HALF_OPEN  --the probe succeeds-->                              CLOSED
    HALF_OPEN  --the probe fails or is slow-->                      OPEN

While OPEN, calls are refused at once; while HALF_OPEN, all but the probe are.

The breaker also knows how late this process itself is. The event loop runs one callback at a time;
when it is behind, every call to Redis looks slow, because its reply waits to be read. A breaker
that blamed the node for that would cut a busy service off from its only database.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import Enum

from app.errors import Overloaded, StorageError, StorageLoading, StorageTimeout, StorageUnavailable
from app.metrics import BREAKER_STATE
from app.nodes.jobs import Job, running


class BreakerState(Enum):
    """A breaker's state. The value is what the metric shows."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Event(Enum):
    """What can happen to a breaker."""

    TRIPPED = "too many failures or slow calls"
    PAUSE_OVER = "open for long enough"
    PROBE_SUCCEEDED = "the probe succeeded"
    PROBE_FAILED = "the probe failed"


TRANSITIONS: dict[tuple[BreakerState, Event], BreakerState] = {
    (BreakerState.CLOSED, Event.TRIPPED): BreakerState.OPEN,
    (BreakerState.OPEN, Event.PAUSE_OVER): BreakerState.HALF_OPEN,
    (BreakerState.HALF_OPEN, Event.PROBE_SUCCEEDED): BreakerState.CLOSED,
    (BreakerState.HALF_OPEN, Event.PROBE_FAILED): BreakerState.OPEN,
}

NODE_FAILURES = (StorageUnavailable, StorageTimeout, StorageLoading)
"""Errors caused by the node, not by the question."""


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """When a breaker opens, and for how long.

    It opens after `failures` in a row, or if at least `slow_share` (0 to 1) of the last `window`
    calls took longer than `slow_ms`. It stays open for `open_s`.
    """

    failures: int
    slow_ms: float
    slow_share: float
    window: int
    open_s: float


class Breaker:
    """The breaker of one node. `clock` returns monotonic seconds.

    `own_delay_s` returns how much of a call's duration is this process's own; it does not count.
    """

    def __init__(
        self,
        node: str,
        limits: BreakerLimits,
        clock: Callable[[], float] = time.monotonic,
        own_delay_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.node = node
        self._limits = limits
        self._clock = clock
        self._own_delay_s = own_delay_s
        self._state = BreakerState.CLOSED
        self._failures = 0
        self._were_slow: deque[bool] = deque(maxlen=limits.window)
        self._opened_at_s = 0.0
        self._has_probe = False
        BREAKER_STATE.labels(node).set(self._state.value)

    @property
    def state(self) -> BreakerState:
        """Return the current state, which turns half-open when the pause is over."""
        if self._state is BreakerState.OPEN:
            pause_over = self._clock() - self._opened_at_s >= self._limits.open_s
            if pause_over:
                self._move(Event.PAUSE_OVER)
        return self._state

    @property
    def allows(self) -> bool:
        """Return whether a call may go to the node now."""
        state = self.state
        return state is BreakerState.CLOSED or (
            state is BreakerState.HALF_OPEN and not self._has_probe
        )

    @property
    def is_closed(self) -> bool:
        """Return whether the node is in normal use."""
        return self._state is BreakerState.CLOSED

    def watching(self, *, counts_slow: bool = True) -> "_Watched":
        """Return a context manager for each call to the node. Entering raises Overloaded if none is
        allowed.

        With `counts_slow` False the call may take long by its nature, as a bulk write does.
        """
        return _Watched(self, counts_slow)

    def begin(self) -> float:
        """Begin a call, and return the time. Raise Overloaded if none is allowed."""
        if self._state is not BreakerState.CLOSED and not self.allows:
            raise Overloaded(
                f"The Redis node {self.node} failed too often and is avoided for now: try again "
                "shortly.",
                retry_after_s=max(1, round(self._limits.open_s)),
            )
        self._has_probe = self._state is BreakerState.HALF_OPEN
        return self._clock()

    def end(self, started_s: float, error: type[BaseException] | None, counts_slow: bool) -> None:
        """Record the end of a call, with the class of its error."""
        was_slow = self._was_slow(started_s)
        has_failed: bool | None = False
        if error is None or issubclass(error, StorageError):
            has_failed = error is not None and issubclass(error, NODE_FAILURES)
        else:
            # The call was cancelled, which says nothing about the node unless it took too long.
            has_failed = True if was_slow else None
        self._record(has_failed, counts_slow and was_slow)

    def _was_slow(self, started_s: float) -> bool:
        took_s = self._clock() - started_s - self._own_delay_s()
        return took_s * 1000 > self._limits.slow_ms

    def _record(self, has_failed: bool | None, was_slow: bool) -> None:
        if self._state is BreakerState.HALF_OPEN:
            self._has_probe = False
            if has_failed is None:
                return
            self._move(Event.PROBE_FAILED if has_failed or was_slow else Event.PROBE_SUCCEEDED)
            return
        if self._state is BreakerState.OPEN or has_failed is None:  # OPEN: it began before that
            return
        self._failures = self._failures + 1 if has_failed else 0
        self._were_slow.append(was_slow)
        is_full = len(self._were_slow) == self._limits.window
        slow_calls = self._were_slow.count(True)
        too_slow = is_full and slow_calls >= self._limits.slow_share * self._limits.window
        if self._failures >= self._limits.failures or too_slow:
            self._move(Event.TRIPPED)

    def _move(self, event: Event) -> None:
        self._state = TRANSITIONS[self._state, event]
        self._failures = 0
        self._were_slow.clear()
        if self._state is BreakerState.OPEN:
            self._opened_at_s = self._clock()
        BREAKER_STATE.labels(self.node).set(self._state.value)


class _Watched:
    """One call that a breaker watches. A class, because a generator takes three times as long."""

    __slots__ = ("_breaker", "_counts_slow", "_started_s")

    def __init__(self, breaker: Breaker, counts_slow: bool) -> None:
        self._breaker = breaker
        self._counts_slow = counts_slow

    def __enter__(self) -> None:
        self._started_s = self._breaker.begin()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._breaker.end(self._started_s, kind, self._counts_slow)


class Breakers:
    """The breaker of each node by name, created on first use."""

    def __init__(
        self, limits: BreakerLimits, own_delay_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._limits = limits
        self._own_delay_s = own_delay_s
        self._made: dict[str, Breaker] = {}

    def of(self, name: str) -> Breaker:
        """Return the breaker of this node."""
        breaker = self._made.get(name)
        if breaker is None:
            breaker = Breaker(name, self._limits, own_delay_s=self._own_delay_s)
            self._made[name] = breaker
        return breaker

    def guard(self, name: str) -> AbstractContextManager[None]:
        """Return what surrounds a bulk write or a long list.

        These take long by nature, which does not make the node slow.
        """
        return self.of(name).watching(counts_slow=False)


TICK_S = 0.05
REMEMBERED_TICKS = 40
TURNS_PER_CALL = 4
"""Event loop turns in a call: its task, its send, its receive, its caller."""


class LoopDelay:
    """Measures how late a timer fires. The worst of the last two seconds counts."""

    def __init__(self) -> None:
        self._late_s: deque[float] = deque(maxlen=REMEMBERED_TICKS)
        self._allowance_s = 0.0

    def allowance_s(self) -> float:
        """Return how many seconds of a call's duration are this process's own."""
        return self._allowance_s

    @asynccontextmanager
    async def measuring(self) -> AsyncIterator[None]:
        """Measure while the context is open."""
        async with running(self._measure, "measuring the event loop"):
            yield

    async def _measure(self, job: Job) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            self._late_s.append(max(0.0, loop.time() - due_s))
            self._allowance_s = TURNS_PER_CALL * max(self._late_s)
            job.succeeded()
