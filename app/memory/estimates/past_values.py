"""Caches what memories would have seen as questions at their own time.

A memory's past never changes while memories arrive in order of time. A memory stored later with an
earlier outcome counts as known to every memory that began after that outcome. So the cached values
of those are dropped, and computed again on demand.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.model import Scope

MAX_KEPT = 400_000
"""Values of all questions together: about 100 bytes each."""

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True)
class PastKey:
    """Whose past, and which part of it: `what` names filters and parameters."""

    agent_id: str
    scope: Scope
    what: Hashable
    hashed: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hashed", hash((self.agent_id, self.scope, self.what)))

    def __hash__(self) -> int:
        return self.hashed  # asked for many times within an estimate


@dataclass(slots=True)
class _Values(Generic[ValueT]):
    by_memory: dict[tuple[str, int], tuple[float, ValueT]] = field(default_factory=dict)
    latest: float = float("-inf")


class PastValues(Generic[ValueT]):
    """Values by memory (agent and `seq`). The least recently used questions are dropped first."""

    def __init__(self, max_kept: int = MAX_KEPT) -> None:
        self._max_kept = max_kept
        self._kept: OrderedDict[PastKey, _Values[ValueT]] = OrderedDict()
        self._count = 0
        self._epochs: dict[PastKey, int] = {}

    def epoch(self, key: PastKey) -> int:
        """Return a number that changes whenever a value of a question was dropped."""
        return self._epochs.get(key, 0)

    def of(self, key: PastKey) -> dict[tuple[str, int], tuple[float, ValueT]]:
        """Return what is kept for a question: when each memory began, and its value."""
        values = self._kept.get(key)
        if values is None:
            return {}
        self._kept.move_to_end(key)
        return values.by_memory

    def keep(self, key: PastKey, memory: tuple[str, int], start: float, value: ValueT) -> None:
        """Keep the value of a memory that began at `start` (unix seconds)."""
        values = self._kept.setdefault(key, _Values())
        self._count += memory not in values.by_memory
        values.by_memory[memory] = start, value
        values.latest = max(values.latest, start)
        while self._count > self._max_kept and len(self._kept) > 1:
            forgotten, oldest = self._kept.popitem(last=False)
            self._epochs.pop(forgotten, None)
            self._count -= len(oldest.by_memory)

    def forget_since(self, agent_id: str, known_at: float) -> None:
        """Drop the values of memories that began after this agent's news was known.

        `known_at`: unix seconds; minus infinity after a deletion.
        """
        for key, values in self._kept.items():
            if values.latest < known_at or (key.scope == "own" and key.agent_id != agent_id):
                continue
            stale = [m for m, (start, _) in values.by_memory.items() if start >= known_at]
            if stale:
                self._epochs[key] = self._epochs.get(key, 0) + 1
            for memory in stale:
                del values.by_memory[memory]
            self._count -= len(stale)
            values.latest = max((s for s, _ in values.by_memory.values()), default=float("-inf"))
