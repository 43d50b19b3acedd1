"""Moves one kind of index to the lowest EF_RUNTIME that finds enough of the true neighbours.

EF_RUNTIME is the number of candidates that HNSW keeps while it searches: more find more and take
longer. It goes up while the recall is below the target, until the latency budget or the ceiling
binds, and down again where a lower one was not yet seen to be too low.
"""

import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

BoundBy = Literal["too_few_samples", "recall_target", "latency_budget", "ceiling"]
"""What EF_RUNTIME waits for or stops at. `recall_target`: it is reached; `ceiling`: it is not, and
EF_RUNTIME is as high as it may be."""

MIN_SAMPLES = 20
"""Before EF_RUNTIME is moved: the recall is then known to some 0.03."""

WINDOW = 100
"""Samples that the figures are of, all at the same EF_RUNTIME; so many before it goes down."""

FAR_BELOW = 0.1
"""So far below the target the next step is a doubling, else half as much again."""

FORGOTTEN_AFTER = 2000
"""Samples after which an EF_RUNTIME that was too low may be tried again: memory changes."""


@dataclass(frozen=True, slots=True)
class EffortLimits:
    """What is aimed at and what binds. `target` is a recall, 0 to 1."""

    target: float
    ceiling: int
    budget_ms: float


@dataclass(frozen=True, slots=True)
class EffortFigures:
    """The current EF_RUNTIME and what is known of it. `samples`: how many the two means are of."""

    ef_runtime: int
    recall: float | None
    latency_ms: float | None
    samples: int
    bound_by: BoundBy


class EffortControl:
    """Decides one kind's EF_RUNTIME. `changed` is told of each new one."""

    def __init__(self, floor: int, limits: EffortLimits, changed: Callable[[int], None]) -> None:
        self._floor = floor
        self._limits = limits
        self._changed = changed
        self._ef_runtime = floor
        self._recalls: deque[float] = deque(maxlen=WINDOW)
        self._latencies_ms: deque[float] = deque(maxlen=WINDOW)
        self._bound_by: BoundBy = "too_few_samples"
        self._too_low = 0
        self._since_too_low = 0

    @property
    def figures(self) -> EffortFigures:
        """What is known now."""
        has_any = len(self._recalls) > 0
        return EffortFigures(
            ef_runtime=self._ef_runtime,
            recall=statistics.fmean(self._recalls) if has_any else None,
            latency_ms=statistics.median(self._latencies_ms) if has_any else None,
            samples=len(self._recalls),
            bound_by=self._bound_by,
        )

    def add(self, recall: float, latency_ms: float) -> None:
        """One sample taken at the current EF_RUNTIME."""
        self._recalls.append(recall)
        self._latencies_ms.append(latency_ms)
        self._since_too_low += 1
        if len(self._recalls) >= MIN_SAMPLES:
            self._decide()

    def _decide(self) -> None:
        found, limits = statistics.fmean(self._recalls), self._limits
        took_ms = statistics.median(self._latencies_ms)
        if took_ms > limits.budget_ms:
            self._bound_by = "latency_budget"
            self._move(self._ef_runtime * 2 // 3)
        elif found < limits.target:
            self._too_low, self._since_too_low = self._ef_runtime, 0
            self._go_up(found, took_ms)
        else:
            self._bound_by = "recall_target"
            lower = self._ef_runtime * 4 // 5
            if self._since_too_low > FORGOTTEN_AFTER:
                self._too_low = 0
            has_spare = found >= (1 + limits.target) / 2
            if has_spare and len(self._recalls) == WINDOW and lower > self._too_low:
                self._move(lower)

    def _go_up(self, found: float, took_ms: float) -> None:
        limits = self._limits
        is_far = found < limits.target - FAR_BELOW
        higher = self._ef_runtime * 2 if is_far else -(-self._ef_runtime * 3 // 2)
        if self._ef_runtime >= limits.ceiling:
            self._bound_by = "ceiling"
        elif took_ms * higher / self._ef_runtime > limits.budget_ms:
            # A search takes about as much longer as it keeps more candidates.
            affordable = int(self._ef_runtime * limits.budget_ms / took_ms)
            self._bound_by = "latency_budget"
            if affordable > self._ef_runtime * 1.1:
                self._move(affordable)
        else:
            self._move(higher)

    def _move(self, ef_runtime: int) -> None:
        ef_runtime = max(self._floor, min(ef_runtime, self._limits.ceiling))
        if ef_runtime == self._ef_runtime:
            return
        self._ef_runtime = ef_runtime
        self._recalls.clear()
        self._latencies_ms.clear()
        self._bound_by = "too_few_samples"
        self._changed(ef_runtime)
