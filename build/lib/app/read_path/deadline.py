"""How long the caller will wait. Set once for a request, seen by every stage."""

import asyncio
from contextvars import ContextVar

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
