"""Which experiences or concepts: the conditions that questions share."""

from collections.abc import Sequence
from typing import Literal, TypeAlias, TypedDict

from coinswarm_memory.encode.times import TimeLike

Names: TypeAlias = str | Sequence[str]
"""One name, or several, any of which may match."""

Scope: TypeAlias = Literal["own", "others", "all"]
MemoryType: TypeAlias = Literal["PATTERN", "REGIME", "STRATEGY"]


class ExperienceFilters(TypedDict, total=False):
    """All given conditions must hold. None counts as not given."""

    product: Names | None
    regime: Names | None
    action: Names | None
    min_reward: float | None
    max_reward: float | None
    since: TimeLike | None
    until: TimeLike | None
    as_of: TimeLike | None
    terminal: bool | None
    min_quality: float | None
    episode_id: Names | None
    min_step: int | None
    max_step: int | None
    recorded_by: TimeLike | None


class WindowFilters(ExperienceFilters, total=False):
    """Filters that also take the last hours."""

    hours: float | None


class MoreRecall(TypedDict, total=False):
    """Further conditions of a recall."""

    max_reward: float | None
    terminal: bool | None
    min_quality: float | None
    episode_id: Names | None
    min_step: int | None
    max_step: int | None
    recorded_by: TimeLike | None
    regime_policy: Literal["strict", "prefer", "any"] | None
    consistency: str | None
    explain: bool | None
    distinct: Literal["outcome", "none"] | None
    metric: str | None
    horizon: str | float | None
    recall: bool | None


class RecallOptions(ExperienceFilters, total=False):
    """How to recall: filters, and how near, how exact and whose."""

    scope: Scope
    max_distance: float | None
    exact: bool
    vectors: bool
    regime_policy: Literal["strict", "prefer", "any"] | None
    consistency: str | None
    explain: bool | None
    distinct: Literal["outcome", "none"] | None
    metric: str | None
    horizon: str | float | None
    recall: bool | None


class EstimateOptions(RecallOptions, total=False):
    """How to estimate: a recall, and how its moments are weighed."""

    kernel: Literal["inverse", "rbf"] | None
    delta: float | None
    bandwidth: float | None
    stop_loss: float | None
    rank_by: Literal["value", "value_low"] | None
    scale: float | None


class CalibrationOptions(TypedDict, total=False):
    """Which estimates to look back on: how they were asked for."""

    top_k: int
    scope: Scope
    distinct: Literal["outcome", "none"]
    horizon: str | float | None
    action: str | None
    scaled: bool


class EvaluateOptions(TypedDict, total=False):
    """Which memories are asked, which answer, and what decides."""

    scope: Scope
    since: TimeLike | None
    until: TimeLike | None
    as_of: TimeLike | None
    action: str | None
    product: Names | None
    regime: Names | None
    horizon: str | float | None
    scaled: bool
    metric: str | None
    k: int
    kernel: Literal["inverse", "rbf"]
    delta: float
    bandwidth: float
    distinct: Literal["outcome", "none"]
    stop_loss: float
    cost: float
    statistic: Literal["rank_correlation", "brier", "interval_score", "profit"]
    placebos: int
    seed: int


class LearnOptions(TypedDict, total=False):
    """Which outcomes teach a distance."""

    since: TimeLike | None
    until: TimeLike | None
    as_of: TimeLike | None
    action: str | None
    product: Names | None
    regime: Names | None
    horizon: str | float | None
    scaled: bool


class ConceptFilters(TypedDict, total=False):
    """All given conditions must hold."""

    memory_type: MemoryType | Sequence[MemoryType] | None
    regime_name: Names | None
    min_sharpe_ratio: float | None
    min_win_rate: float | None
    min_access_count: int | None
