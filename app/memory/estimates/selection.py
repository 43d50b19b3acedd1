"""Applies a question's conditions to an agent's history, as the index would."""

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
    found: Mask = outcomes.end < np.inf
    for name, values in (
        ("product", wanted.product_id),
        ("regime", wanted.regime),
        ("action", wanted.action),
    ):
        if values:
            found &= _one_of(history, name, values)
    if wanted.except_regime:
        found &= ~_one_of(history, "regime", wanted.except_regime)
    if wanted.terminal is not None:
        found &= history.terminal == wanted.terminal
    return _within_bounds(history, outcomes, wanted, found)


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
