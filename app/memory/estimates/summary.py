"""Sums up the memories that were chosen for an estimate.

A copy in the process finds candidates in less time than Python needs to look at them. So those are
chosen and summed up by compiled.py, once it is loaded; all others, and those before, in Python.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.memory.estimates.action_values import (
    ActionValue,
    Neighbour,
    RankBy,
    estimate_actions,
    precision,
    ranked,
)
from app.memory.estimates.history import ABSENT, History
from app.memory.estimates.kernel import Kernel, effective_n
from app.resident.loading import load_compiled

_COMPILED = "app.memory.estimates.compiled"
_COLUMNS = 12
"""Of the statistics: those of compiled.COLUMNS, which cannot be imported before it is loaded."""


@dataclass(slots=True)
class Summary:
    """`support`: the effective_n of all memories; `later`: how many outcomes are in the future."""

    actions: list[ActionValue]
    nearest: float | None
    support: float
    later: int


class Summing(NamedTuple):
    """How an estimate sums up its memories. `now`: unix seconds."""

    kernel: Kernel
    stop_loss: float
    rank_by: RankBy
    now: float

    def of(self, neighbours: Sequence[Neighbour]) -> Summary:
        """Return the summary of these memories."""
        distances = [neighbour.distance for neighbour in neighbours]
        return Summary(
            estimate_actions(
                neighbours, self.kernel, stop_loss=self.stop_loss, rank_by=self.rank_by
            ),
            min(distances, default=None),
            effective_n(self.kernel.weights(distances)),
            sum(neighbour.interval[1] > self.now for neighbour in neighbours),
        )


@dataclass(slots=True)
class Chosen:
    """The rows that count, nearest first, of `found` that were examined."""

    rows: list[int]
    found: int
    summary: Summary


class CompiledSums:
    """The compiled function. It is loaded in the background when it is first wanted."""

    def __init__(self) -> None:
        self._function: Callable[..., tuple[int, int, int, int]] | None = None
        self._loading: Thread | None = None

    def is_ready(self) -> bool:
        """Return whether it can be called. If not, begin to load it."""
        if self._function is None and self._loading is None:
            self._loading = Thread(target=self.load, name="compiled-estimates", daemon=True)
            self._loading.start()
        return self._function is not None

    def load(self) -> None:
        """Load it, which takes seconds when it is compiled for the first time."""
        self._function = load_compiled(_COMPILED).chosen_and_summed

    def chosen(
        self,
        history: History,
        seqs: Sequence[int],
        distances: Sequence[float],
        *,
        count: int,
        is_distinct: bool,
        scale: float | None,
        summing: Summing,
    ) -> Chosen | None:
        """Return the first `count` closed ones of these memories, with their summary.

        `seqs` are their numbers, nearest first. With `is_distinct`, no two of a product overlap.
        None if the history lacks one of them.
        """
        assert self._function is not None
        kernel = summing.kernel
        count = min(count, len(seqs))
        rows = np.empty(count, np.int64)
        statistics = np.empty((count + 1, _COLUMNS))
        size, found, later, actions = self._function(
            _column(seqs, np.int64),
            _column(distances, np.float64),
            history.seq,
            history.table,
            history.code_table,
            is_distinct,
            math.nan if scale is None else scale,
            summing.now,
            kernel.name == "rbf",
            kernel.bandwidth if kernel.name == "rbf" else kernel.delta,
            summing.stop_loss,
            rows,
            statistics,
        )
        if size == ABSENT:
            return None
        *of_actions, of_all = statistics[: actions + 1].tolist()
        summary = Summary(
            ranked([_action_value(history, row) for row in of_actions], summing.rank_by),
            of_all[11] if size else None,
            of_all[9] if size else 0.0,
            later,
        )
        return Chosen(rows[:size].tolist(), found, summary)


def _column(values: Sequence[float], number: type[np.generic]) -> NDArray[Any]:
    if isinstance(values, memoryview):
        return np.frombuffer(values, number)
    return np.array(values, number)


def _action_value(history: History, row: Sequence[Any]) -> ActionValue:
    code, count, value, stdev, q05, q50, q95, wins, losses, effective, independent, nearest = row
    spread = None if math.isnan(stdev) else stdev
    return ActionValue(
        history.name(int(code)),
        int(count),
        value,
        spread,
        q05,
        q50,
        q95,
        wins,
        losses,
        effective,
        independent,
        *precision(value, spread, independent),
        nearest,
    )
