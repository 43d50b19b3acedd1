"""Applies a question's conditions to an agent's history, as the index would."""

import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.memory.estimates.history import History, Outcomes
from app.model import EpisodicFilter

Mask = NDArray[np.bool_]


def matching(history: History, wanted: EpisodicFilter, horizon: str | None) -> Mask:
    """Return which closed memories match, whenever they were known: (count,).

    `horizon` None requires the primary outcome.
    """
    outcomes = history.outcomes(horizon)
    found = _of_names(history, wanted) & (outcomes.end < np.inf)
    return _within_bounds(history, outcomes, wanted, found)


def searchable(history: History, wanted: EpisodicFilter) -> Mask:
    """Return which memories a search would compare, open ones among them: (count,)."""
    primary, start = history.outcomes(None), history.column("start")
    found = _of_names(history, wanted)
    if history.retirements(None):
        retired = history.column("retired")
        found &= retired == np.inf if wanted.as_of is None else retired > wanted.as_of
    if wanted.horizon is not None:
        found &= ~np.isnan(history.outcomes(wanted.horizon).reward)
    elif wanted.as_of is not None:
        found &= primary.end <= wanted.as_of
        if wanted.recorded_by is not None:
            found &= primary.recorded <= wanted.recorded_by
    if wanted.closed:
        found &= ~np.isnan(primary.reward)
    at_least, at_most, by = operator.ge, operator.le, wanted.recorded_by
    rated_by = by if wanted.min_quality is not None else None
    rated_at = wanted.as_of if wanted.min_quality is not None else None
    for column, holds, bound in (
        (start, at_least, wanted.since),
        (start, at_most, wanted.until),
        (start, at_most, wanted.as_of),
        (primary.reward, at_least, wanted.min_reward),
        (primary.reward, at_most, wanted.max_reward),
        (history.column("quality"), at_least, wanted.min_quality),
        (history.column("quality_at"), at_most, rated_at),
        (history.column("quality_recorded"), at_most, rated_by),
        (history.column("recorded"), at_most, by),
    ):
        if bound is not None:
            found &= holds(column, bound)
    return found


def _of_names(history: History, wanted: EpisodicFilter) -> Mask:
    found: Mask = np.ones(history.count, np.bool_)
    for name, values in (
        ("product", wanted.product_id),
        ("regime", wanted.regime),
        ("action", wanted.action),
        ("episode", wanted.episode_id),
    ):
        if values:
            found &= _one_of(history, name, values)
    if wanted.except_regime:
        found &= ~_one_of(history, "regime", wanted.except_regime)
    if wanted.terminal is not None:
        found &= history.terminal == wanted.terminal
    step = history.column("step")
    if wanted.min_step is not None:
        found &= step >= wanted.min_step
    if wanted.max_step is not None:
        found &= step <= wanted.max_step
    return found


def _within_bounds(
    history: History, outcomes: Outcomes, wanted: EpisodicFilter, found: Mask
) -> Mask:
    if wanted.since is not None:
        found &= history.column("start") >= wanted.since
    if wanted.until is not None:
        found &= history.column("start") <= wanted.until
    if wanted.min_reward is not None:
        found &= outcomes.reward >= wanted.min_reward
    if wanted.max_reward is not None:
        found &= outcomes.reward <= wanted.max_reward
    if wanted.min_quality is not None:
        found &= history.column("quality") >= wanted.min_quality
        if wanted.as_of is not None:
            found &= history.column("quality_at") <= wanted.as_of
    if wanted.recorded_by is not None:
        found &= history.column("recorded") <= wanted.recorded_by
        found &= outcomes.recorded <= wanted.recorded_by
    return found


def _one_of(history: History, column: str, values: Sequence[str]) -> Mask:
    codes = history.codes(column)
    found: Mask = np.isin(codes, [history.code(value) for value in values])
    return found
