"""Caches what memories would have seen as questions at their own time.

A memory's past never changes while memories arrive in order of time. A memory stored later with an
earlier outcome counts as known to every memory that began after that outcome. So the cached values
of those are dropped, and computed again on demand. Those that were being computed meanwhile are not
kept.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import count, islice

import numpy as np
from numpy.typing import NDArray

from app.memory.estimates.history import History
from app.model import Scope

MAX_KEPT = 400_000
"""Values of all questions together: about 100 bytes each."""

NEWS_KEPT = 256
"""Changes of memories that are remembered: what is looked up across more of them is not kept."""

UNKNOWN = -1

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


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


class _Column:
    """What one agent's memories saw, by their rows in its history.

    `place` (rows,): where the values of a row are, or UNKNOWN. `values`: (n, width); `starts`: (n,)
    when each memory began, unix seconds. There is room for more of each.
    """

    def __init__(self, history: History, width: int) -> None:
        self.history = history
        self.place = np.full(0, UNKNOWN, np.int32)
        self.starts = np.empty(0)
        self.values = np.empty((0, width))
        self.count = 0
        self.latest = -math.inf

    def places(self, rows: Rows) -> NDArray[np.int32]:
        """Return where the values of these rows are."""
        if len(rows) and int(rows.max()) >= len(self.place):
            self._grow(int(rows.max()) + 1)
        return self.place[rows]

    def keep(self, row: int, start: float, values: Sequence[float]) -> int:
        """Keep the values of a row. Return how many rows this adds: 0 or 1."""
        if row >= len(self.place):
            self._grow(row + 1)
        at = int(self.place[row])
        is_new = at == UNKNOWN
        if is_new:
            at = self.count
            if at == len(self.starts):
                room = max(64, 2 * at)
                self.starts = np.resize(self.starts, room)
                self.values = np.resize(self.values, (room, self.values.shape[1]))
            self.place[row] = at
            self.count += 1
        self.starts[at], self.values[at] = start, values
        self.latest = max(self.latest, start)
        return int(is_new)

    def drop_since(self, known_at: float) -> int:
        """Drop the values of memories that began at a moment or later. Return how many."""
        remain = self.starts[: self.count] < known_at
        dropped = self.count - int(remain.sum())
        if dropped:
            place = np.where(remain, np.cumsum(remain) - 1, UNKNOWN).astype(np.int32)
            is_kept = self.place != UNKNOWN
            self.place[is_kept] = place[self.place[is_kept]]
            self.starts = self.starts[: self.count][remain]
            self.values = self.values[: self.count][remain]
            self.count -= dropped
            self.latest = self.starts.max(initial=-math.inf)
        return dropped

    def _grow(self, rows: int) -> None:
        more = np.full(rows + rows // 2 - len(self.place), UNKNOWN, np.int32)
        self.place = np.concatenate([self.place, more])


class PastValues:
    """Values by agent and row, `width` floats each. The least recently used questions are dropped
    first."""

    def __init__(self, width: int, *, max_kept: int = MAX_KEPT) -> None:
        self._width = width
        self._max_kept = max_kept
        self._kept: OrderedDict[PastKey, dict[str, _Column]] = OrderedDict()
        self._count = 0
        self._epochs: dict[PastKey, int] = {}
        self._numbers = count(1)
        self._news: deque[tuple[str, float]] = deque(maxlen=NEWS_KEPT)
        self.heard = 0
        """How many changes of memories were heard of. Looking up begins by noting this number."""

    def epoch(self, key: PastKey) -> int | None:
        """Return a number that no other state of a question's values has; None if none are kept.

        It changes whenever one is dropped.
        """
        return self._epochs.get(key)

    def is_unchanged(self, key: PastKey, heard: int, start: float) -> bool:
        """Return whether no change since then is one to a memory that began at this moment."""
        missed = self.heard - heard
        if not missed:
            return True
        return missed <= len(self._news) and not any(
            known_at <= start and (key.scope != "own" or agent_id == key.agent_id)
            for agent_id, known_at in islice(reversed(self._news), missed)
        )

    def of(
        self, key: PastKey, agent_id: str, history: History, rows: Rows
    ) -> tuple[NDArray[np.bool_], Floats]:
        """Return which of an agent's rows have values for a question (n,), and those values."""
        columns = self._kept.get(key)
        column = None if columns is None else columns.get(agent_id)
        if column is None or column.history is not history:
            return np.zeros(len(rows), np.bool_), np.empty((0, self._width))
        self._kept.move_to_end(key)
        places = column.places(rows)
        is_there = places != UNKNOWN
        return is_there, column.values[places[is_there]]

    def keep(
        self,
        key: PastKey,
        agent_id: str,
        history: History,
        row: int,
        values: Sequence[float],
        *,
        heard: int,
    ) -> bool:
        """Keep the values of one row of an agent's history. Return whether they are kept.

        They are not if a change that was heard of since looking up began may concern them, or if
        the history was read again meanwhile.
        """
        start = history.column("start").item(row)
        columns = self._kept.get(key)
        column = None if columns is None else columns.get(agent_id)
        is_outdated = column is not None and column.history.number > history.number
        if is_outdated or not self.is_unchanged(key, heard, start):
            return False
        if columns is None:
            columns = self._kept[key] = {}
            self._epochs[key] = next(self._numbers)
        if column is None or column.history is not history:
            self._count -= 0 if column is None else column.count
            column = columns[agent_id] = _Column(history, self._width)
        self._count += column.keep(row, start, values)
        while self._count > self._max_kept and len(self._kept) > 1:
            forgotten, oldest = self._kept.popitem(last=False)
            self._epochs.pop(forgotten, None)
            self._count -= sum(column.count for column in oldest.values())
        return True

    def forget_since(self, agent_id: str, known_at: float) -> None:
        """Drop the values of memories that began after this agent's news was known.

        `known_at`: unix seconds; minus infinity after a deletion, infinity if nothing was known.
        """
        if known_at == math.inf:
            return
        self.heard += 1
        self._news.append((agent_id, known_at))
        for key, columns in self._kept.items():
            if key.scope == "own" and key.agent_id != agent_id:
                continue
            dropped = sum(
                column.drop_since(known_at)
                for column in columns.values()
                if column.latest >= known_at
            )
            if known_at == -math.inf:
                columns.pop(agent_id, None)  # its rows mean other memories from now on
            if dropped:
                self._epochs[key] = next(self._numbers)
                self._count -= dropped
