"""EF_RUNTIME goes to the lowest value that finds enough, until time or the ceiling binds."""

from collections.abc import Callable

import pytest

from app.model import IndexKind
from app.read_path.recall_guard import (
    FORGOTTEN_AFTER,
    MIN_SAMPLES,
    WINDOW,
    EffortControl,
    EffortLimits,
)
from app.storage.index import SearchEffort


class TriedEffort(SearchEffort):
    """Remembers every value that it was set to."""

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[int] = []

    def set(self, kind: IndexKind, ef_runtime: int) -> None:
        self.tried.append(ef_runtime)
        super().set(kind, ef_runtime)


class Index:
    """An index whose recall and time depend on EF_RUNTIME, and its control."""

    def __init__(
        self,
        recall_at: Callable[[int], float],
        ms_at: Callable[[int], float] = lambda _: 1.0,
        *,
        floor: int = 10,
    ) -> None:
        limits = EffortLimits(target=0.98, ceiling=500, budget_ms=5.0)
        self.recall_at, self.ms_at = recall_at, ms_at
        self.effort = TriedEffort()
        self.control = EffortControl("episodic", self.effort, floor=floor, limits=limits)

    def sample(self, count: int) -> None:
        for _ in range(count):
            ef_runtime = self.control.figures.ef_runtime
            self.control.add(self.recall_at(ef_runtime), self.ms_at(ef_runtime))


def climbing(ef_runtime: int) -> float:
    return min(1.0, 0.5 + ef_runtime / 200)


def test_climbs_to_the_target_and_stays_there() -> None:
    index = Index(climbing)
    assert index.control.figures.bound_by == "too_few_samples"
    index.sample(MIN_SAMPLES - 1)
    assert index.effort.tried == []
    index.sample(10 * WINDOW)
    figures = index.control.figures
    assert figures.bound_by == "recall_target"
    assert figures.recall_at_k is not None
    assert figures.recall_at_k >= 0.98
    assert 96 <= figures.ef_runtime <= 150
    settled = len(index.effort.tried)
    index.sample(FORGOTTEN_AFTER // 4)
    assert len(index.effort.tried) == settled


def test_goes_down_again_to_the_lowest_that_is_enough() -> None:
    index = Index(climbing)
    index.sample(20 * WINDOW)
    index.recall_at = lambda _: 1.0  # as after most of the memory was deleted
    index.sample(FORGOTTEN_AFTER + 30 * WINDOW)
    assert index.control.figures.ef_runtime == 10
    assert index.control.figures.bound_by == "recall_target"


def test_stops_at_the_latency_budget() -> None:
    index = Index(lambda _: 0.3, lambda ef_runtime: ef_runtime / 20)
    index.sample(10 * WINDOW)
    assert index.control.figures.bound_by == "latency_budget"
    assert 80 <= index.control.figures.ef_runtime <= 100
    index.ms_at = lambda ef_runtime: ef_runtime / 5  # as when the index has grown
    index.sample(10 * WINDOW)
    assert index.control.figures.bound_by == "latency_budget"
    assert index.control.figures.ef_runtime <= 30


@pytest.mark.parametrize("too_slow", [False, True])
def test_stays_within_its_bounds(too_slow: bool) -> None:
    index = Index(lambda _: 0.0, lambda _: 100.0 if too_slow else 0.1)
    index.sample(20 * WINDOW)
    figures = index.control.figures
    expected = (10, "latency_budget") if too_slow else (500, "ceiling")
    assert (figures.ef_runtime, figures.bound_by) == expected


def test_figures_are_of_the_current_value_alone() -> None:
    index = Index(climbing)
    index.sample(MIN_SAMPLES)
    assert len(index.effort.tried) == 1
    assert (index.control.figures.samples, index.control.figures.recall_at_k) == (0, None)
