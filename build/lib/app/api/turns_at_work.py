"""A cap on the requests of one caller that are worked on at once: the others get their turns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.errors import Overloaded

MAX_WAITING = 1000
"""Requests of one caller that may wait in one process; beyond: 503."""


@dataclass(slots=True)
class _Turns:
    free: asyncio.Semaphore
    waiting: int = 0


@dataclass(slots=True)
class TurnsAtWork:
    """Requests beyond a caller's cap wait, first come, first served, before their body is read."""

    _of: dict[str, _Turns] = field(default_factory=dict)

    @asynccontextmanager
    async def turn(self, key_id: str, cap: int) -> AsyncIterator[None]:
        """While the block runs, one of the caller's turns is taken. Raises Overloaded."""
        turns = self._of.get(key_id)
        if turns is None:
            turns = self._of[key_id] = _Turns(asyncio.Semaphore(cap))
        if turns.waiting >= MAX_WAITING:
            raise Overloaded("This key has too many requests waiting.", retry_after_s=1)
        turns.waiting += 1
        try:
            await turns.free.acquire()
        finally:
            turns.waiting -= 1
        try:
            yield
        finally:
            turns.free.release()
