"""Two facts about the current request: its durability level and its deadline.

Both are set once per request. The level is read where the write is sent:

memory      Redis has it; the append-only file follows within a second
replicated  the configured number of replicas have it in memory, too
fsynced     it is on the master's disk, and on the disks of those replicas

Every stage of the read path may ask how much time remains.
"""

import time
from contextvars import ContextVar
from typing import Literal

Durability = Literal["memory", "replicated", "fsynced"]

_required: ContextVar[Durability] = ContextVar("durability", default="memory")


def require(level: Durability) -> None:
    """Set the durability at which the current request's writes are confirmed."""
    _required.set(level)


def required() -> Durability:
    """Return the durability that was requested; the service's own writes request none."""
    return _required.get()


_deadline_s: ContextVar[float | None] = ContextVar("deadline_s", default=None)


def set_deadline(after_ms: float) -> float:
    """End the current request this many milliseconds from now.

    Return that moment on the monotonic clock, which is the event loop's too, in seconds.
    """
    # Not by the running loop: to find it is a system call in Python 3.11.
    deadline_s = time.monotonic() + after_ms / 1000
    _deadline_s.set(deadline_s)
    return deadline_s


def remaining_s() -> float | None:
    """Return the seconds until the deadline, negative once it has passed. None without one."""
    deadline_s = _deadline_s.get()
    return None if deadline_s is None else deadline_s - time.monotonic()
