"""How safe a write must be before it is confirmed. Set once for a request, seen where it is sent.

memory      Redis has it; its append-only file follows within a second
replicated  so many replicas have it in memory, too
fsynced     it is on the master's disk, and on that of so many replicas


How long the caller will wait. Set once for a request, seen by every stage.
"""

import asyncio
from contextvars import ContextVar
from typing import Literal

Durability = Literal["memory", "replicated", "fsynced"]

_required: ContextVar[Durability] = ContextVar("durability", default="memory")


def require(level: Durability) -> None:
    """The writes of the request that is being served are confirmed at this level or not at all."""
    _required.set(level)


def required() -> Durability:
    """The level that was asked for; what the service writes by itself asks for none."""
    return _required.get()


_deadline_s: ContextVar[float | None] = ContextVar("deadline_s", default=None)


def set_deadline(after_ms: float) -> float:
    """The request that is being served ends this many milliseconds from now.

    The moment on the event loop's clock, in seconds.
    """
    deadline_s = asyncio.get_running_loop().time() + after_ms / 1000
    _deadline_s.set(deadline_s)
    return deadline_s


def remaining_s() -> float | None:
    """Seconds until the deadline, negative when it is over; None without one."""
    deadline_s = _deadline_s.get()
    return None if deadline_s is None else deadline_s - asyncio.get_running_loop().time()
