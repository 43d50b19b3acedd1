"""How safe a write must be before it is confirmed. Set once for a request, seen where it is sent.

memory      Redis has it; its append-only file follows within a second
replicated  so many replicas have it in memory, too
fsynced     it is on the master's disk, and on that of so many replicas
"""

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
