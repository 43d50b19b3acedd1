"""How late this process itself is: a slow answer is not the node's fault while we are.

The event loop runs one callback at a time. When it is behind, every call to Redis looks slow,
since its reply waits to be read; a breaker that took that for the node's slowness would shut the
service's only database out of a busy service.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.background import Job, running

TICK_S = 0.05
REMEMBERED_TICKS = 40
TURNS_PER_CALL = 4
"""Turns of the event loop that a call takes: its task, its send, its receive, its caller."""


class LoopDelay:
    """Measures how late a timer fires; the worst of the last two seconds counts."""

    def __init__(self) -> None:
        self._late_s: deque[float] = deque([0.0], maxlen=REMEMBERED_TICKS)

    def allowance_s(self) -> float:
        """Seconds of a call's duration that are this process's own."""
        return TURNS_PER_CALL * max(self._late_s)

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
            job.succeeded()
