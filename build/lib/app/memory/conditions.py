"""From what a caller asked for to the typed filter."""

from collections.abc import Sequence
from dataclasses import replace

from app.filters import EVERY_EXPERIENCE, EpisodicFilter, SemanticFilter
from app.memory import as_of
from app.schemas import (
    EpisodicWindow,
    ExperienceConditions,
    SemanticConditions,
    SemanticQuery,
    SemanticSearch,
)

_CONDITIONS = frozenset(ExperienceConditions.model_fields)


def episodic_filter(request: ExperienceConditions) -> EpisodicFilter:
    """The filter of a search. Raises InvalidInput where `as_of` is required and not given."""
    if request.model_fields_set.isdisjoint(_CONDITIONS):
        as_of.checked(None)
        return EVERY_EXPERIENCE
    return EpisodicFilter(
        product_id=_tags(request.product_id),
        regime=_tags(request.regime),
        action=_tags(request.action),
        min_reward=request.min_reward,
        max_reward=request.max_reward,
        since=request.since,
        until=request.until,
        terminal=request.terminal,
        as_of=as_of.checked(request.as_of),
        min_quality=request.min_quality,
    )


def episodic_window_filter(request: EpisodicWindow, since: float | None) -> EpisodicFilter:
    """The filter of a query or deletion; `since` (unix seconds) stands for `hours`."""
    wanted = episodic_filter(request)
    return wanted if since is None else replace(wanted, since=since)


def known_concepts(request: SemanticSearch | SemanticQuery) -> SemanticFilter:
    """The filter of a search or query. Raises InvalidInput where `as_of` is required, not given."""
    return replace(semantic_filter(request), as_of=as_of.checked(request.as_of))


def semantic_filter(request: SemanticConditions) -> SemanticFilter:
    """The filter of any question about concepts as they are."""
    return SemanticFilter(
        memory_type=_tags(request.memory_type),
        regime_name=_tags(request.regime_name),
        min_sharpe_ratio=request.min_sharpe_ratio,
        min_win_rate=request.min_win_rate,
        min_access_count=request.min_access_count,
    )


def _tags(values: Sequence[str] | None) -> tuple[str, ...]:
    """Sorted and without doubles, so that the same question always looks the same."""
    return tuple(sorted(set(values))) if values else ()
