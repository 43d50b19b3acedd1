"""Judges an estimate by the agent's own past: how wide its interval is and how far to shrink it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from app.memory.estimates.action_values import ActionValue
from app.memory.estimates.backcasts import BackcastMaker, Backcasts
from app.memory.estimates.baseline import Baseline, MaturedRewards, baseline_of, means_of
from app.memory.estimates.inquiry import Inquiry, Terms, has_moving_bounds
from app.memory.estimates.interval import (
    MIN_BACKCASTS,
    Correction,
    Interval,
    correction,
    uncorrected,
)
from app.memory.estimates.matured import matured
from app.memory.estimates.shrinkage import best_m, drawn_in, part_of_baseline

INTERVAL_BACKCASTS = 200
"""The latest backcasts only, so that an interval follows the present spread."""


@dataclass(slots=True)
class Judgement:
    """What an action gets besides its statistics. The names are those of the answer. Never
    modified.

    All but `interval` are None if too little was known to compare with. `pending`: it is known, but
    not computed yet.
    """

    baseline: Baseline | None
    shrunk_value: float | None
    shrunk_loss_probability: float | None
    shrinkage: float | None
    interval: Interval
    pending: bool = False


@dataclass(frozen=True, slots=True)
class _Record:
    """What is derived from the backcasts of an action."""

    corrected: Correction | None
    m_value: float
    m_loss: float


class _Standard(NamedTuple):
    baseline: Baseline | None
    record: _Record | None
    is_pending: bool


Standards = dict[str | None, _Standard]
"""What each action is judged by."""

MOST_AHEAD = 8
"""Actions whose standards are worth knowing before it is known which ones are needed."""


class Judge:
    """Judges actions by the backcasts of the agent that asks."""

    def __init__(self, backcasts: BackcastMaker) -> None:
        self._backcasts = backcasts

    async def standards(
        self, asked: Inquiry, actions: Iterable[str | None] | None = None
    ) -> Standards:
        """Return what these actions are judged by. Raise StorageError.

        `actions` None: those that the memories in question have, so that it is known before the
        question's neighbours are; of more than MOST_AHEAD, none.
        """
        if actions is None:
            actions = {name for _, history in asked.pool for name in history.actions()}
            if len(actions) > MOST_AHEAD:
                return {}
        terms = asked.terms
        unit = 1.0 if asked.scale is None else asked.scale
        has_past = not has_moving_bounds(asked.timeless)
        found: Standards = {}
        for action in actions:
            parts = [
                matured(
                    history,
                    asked.timeless,
                    terms.horizon,
                    action,
                    is_scaled=terms.is_scaled,
                    as_of=asked.as_of,
                ).rewards
                for _, history in asked.pool
            ]
            baseline = baseline_of(parts, asked.as_of, stop_loss=terms.stop_loss, unit=unit)
            # With moving bounds, its past questions would not have been the same question.
            record = await self._record(asked, action, parts) if has_past else None
            is_pending = record is None and self._backcasts.is_making(asked, action)
            found[action] = _Standard(baseline, record, is_pending)
        return found

    @property
    def deferred(self) -> int:
        """Return how often standards did without backcasts, because they were being made, or with
        some that another answer may not get."""
        return self._backcasts.deferred

    async def _record(
        self, asked: Inquiry, action: str | None, parts: Sequence[MaturedRewards]
    ) -> _Record | None:
        backcasts = await self._backcasts.of(asked, action)
        if backcasts is None or len(backcasts) < MIN_BACKCASTS:
            return None
        if backcasts.record is None:
            backcasts.record = _recorded(backcasts, asked.terms, parts)
        assert isinstance(backcasts.record, _Record)
        return backcasts.record


def _recorded(backcasts: Backcasts, terms: Terms, parts: Sequence[MaturedRewards]) -> _Record:
    last = slice(-INTERVAL_BACKCASTS, None)
    spread = np.ones(len(backcasts)) if terms.is_scaled else backcasts.stdev
    corrected = correction(
        backcasts.low[last], backcasts.high[last], spread[last], backcasts.reward[last]
    )
    n, means = means_of(parts, backcasts.start)
    usable = n > 0
    if usable.sum() < MIN_BACKCASTS:
        return _Record(corrected, np.inf, np.inf)
    n, means = n[usable], means[usable]
    independent = backcasts.independent_n[usable]
    m_value = best_m(backcasts.value[usable], means, independent, backcasts.reward[usable])
    if terms.is_scaled and terms.stop_loss:
        # In units of their scales, the limit of a loss differs from memory to memory.
        return _Record(corrected, m_value, m_value)
    losses = np.sum([p.losses(backcasts.start[usable], -terms.stop_loss) for p in parts], axis=0)
    lost = (backcasts.reward < -terms.stop_loss)[usable].astype(np.float64)
    m_loss = best_m(backcasts.loss_probability[usable], losses / n, independent, lost)
    return _Record(corrected, m_value, m_loss)


def judgement(action: ActionValue, standard: _Standard, scale: float | None) -> Judgement:
    """Return the judgement of an action by its standard. `scale`: the question's."""
    baseline, record, is_pending = standard
    interval = uncorrected(action.q05, action.q95)
    if record is None:
        return Judgement(baseline, None, None, None, interval, is_pending)
    if record.corrected is not None:
        spread = scale if scale is not None else action.stdev
        if spread is not None:
            interval = record.corrected.interval(action.q05, action.q95, spread) or interval
    if baseline is None:
        return Judgement(None, None, None, None, interval)
    n = action.independent_n
    return Judgement(
        baseline=baseline,
        shrunk_value=drawn_in(action.value, baseline.value, n, record.m_value),
        shrunk_loss_probability=drawn_in(
            action.loss_probability, baseline.loss_probability, n, record.m_loss
        ),
        shrinkage=part_of_baseline(n, record.m_value),
        interval=interval,
    )
