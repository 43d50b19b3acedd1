"""What a replica holds, up to which position, and how current that is."""

import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from coinswarm_memory.answers.experiences import Recall
from coinswarm_memory.encode.vectors import ArrayLike, one_row
from coinswarm_memory.forks import renew_after_fork
from coinswarm_memory.replica.file import save
from coinswarm_memory.replica.filters import CONDITIONS
from coinswarm_memory.replica.rows import Changes
from coinswarm_memory.replica.table import Table

SERVED_BY = "replica"
MAX_K = 1000
"""The most memories that a question may ask for; the service refuses more."""

_IGNORED = frozenset({"agent_id", "exact"})
"""A replica is always exact."""
_SAME_AS_DEFAULT = {
    "scope": "own",
    "include_vectors": False,
    "regime_policy": "strict",
    "consistency": "eventual",
    "explain": False,
    "distinct": "none",
    "recall": False,
}
_ANSWERABLE = CONDITIONS | {"max_distance"}


class ReplicaState:
    """A table and its position in the feed, which move together. Safe for several threads."""

    def __init__(self, max_lag_s: float) -> None:
        self.max_lag_s = max_lag_s
        self.table: Table | None = None
        self.position = ""
        self._current_at_s = -math.inf
        self._retired_until = -math.inf
        self._lock = threading.Lock()
        renew_after_fork(self)

    @property
    def lag_s(self) -> float:
        """Everything confirmed longer ago than this is in it. Infinite while it fills."""
        return time.monotonic() - self._current_at_s

    @property
    def current_at_s(self) -> float:
        """Everything confirmed before this moment (monotonic clock) is in it."""
        return self._current_at_s

    @property
    def is_current(self) -> bool:
        """Whether the lag is within the limit."""
        return self.lag_s <= self.max_lag_s

    def begin(self, table: Table, position: str) -> None:
        """Hold this table from now on; how current it is shows with the next changes."""
        with self._lock:
            self.table, self.position = table, position
            self._current_at_s = -math.inf

    def apply(self, after: str, changes: Changes, sent_at_s: float) -> bool:
        """Apply what changed after a position, as requested at `sent_at_s`.

        Returns False if the changes follow another position than the current one; then they are
        ignored. Two callers may ask at the same time, and an earlier state of a memory must not
        replace a later one.
        """
        with self._lock:
            if after != self.position or self.table is None:
                return False
            self.table.apply(changes.put, changes.deleted)
            self.position = changes.next
            if changes.retired_until is not None:
                self._retired_until = changes.retired_until
            if changes.is_all:
                read_at_s = sent_at_s + changes.waited_s
                self._current_at_s = max(self._current_at_s, read_at_s)
            return True

    def after_fork(self) -> None:
        """Hold nothing in a forked process: no thread follows the feed there, and what one was
        writing may be half written."""
        self._lock = threading.Lock()
        self.lose()

    def lose(self) -> None:
        """Drop everything, because the feed does not continue from here."""
        with self._lock:
            self.table, self.position = None, ""
            self._current_at_s = -math.inf

    def save(self, path: Path, agent_id: str) -> None:
        """Write the table and its position to a file, if there are any."""
        with self._lock:
            if self.table is not None:
                save(path, agent_id, self.table, self.position)

    def doubt(self) -> None:
        """Answer nothing until it is known again what changed."""
        with self._lock:
            self._current_at_s = -math.inf

    def answer(self, state: ArrayLike, k: int, question: Mapping[str, Any]) -> Recall | None:
        """Return the `k` nearest that meet the conditions of a question, in the contract's names.

        Returns None for a question that only the service can answer, and while the lag is over
        the limit. Raises InvalidVector for a state that has no direction.
        """
        started_s = time.perf_counter()
        table, lag_s = self.table, time.monotonic() - self._current_at_s
        if table is None or lag_s > self.max_lag_s:
            return None
        conditions = _conditions(question) if question else {}
        packed = one_row(state, "state")
        if conditions is None or not 1 <= k <= MAX_K or len(packed) != table.dimension:
            return None
        if conditions.get("as_of", math.inf) < self._retired_until:
            return None  # what retired since is at the service alone
        max_distance = conditions.pop("max_distance", None)
        hits = table.nearest(packed, k, conditions)
        if max_distance is not None:
            hits = [hit for hit in hits if hit.distance <= max_distance]
        took_ms = (time.perf_counter() - started_s) * 1000
        return Recall(
            memories=hits,
            exact=True,
            partial=False,
            served_by=SERVED_BY,
            took_ms=took_ms,
            lag_s=lag_s,
        )


def _conditions(question: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the conditions of a question; None when it asks for more than a replica knows."""
    conditions: dict[str, Any] = {}
    for name, value in question.items():
        if name in _IGNORED or _SAME_AS_DEFAULT.get(name, _NEVER) == value:
            continue
        if name not in _ANSWERABLE:
            return None
        conditions[name] = value
    return conditions


_NEVER = object()


def empty_table(dimension: int, vector_type: str) -> Table:
    """Return a table for vectors as the service keeps them."""
    return Table(dimension, is_float16=vector_type == np.dtype(np.float16).name)
