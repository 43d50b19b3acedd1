"""Calibration: how well past estimates matched what was known of their outcomes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.auth import caller
from app.auth.limits import AgentAdmission
from app.contract.estimates import CalibrationRequest
from app.memory.estimates.backcasts import BackcastMaker, Backcasts
from app.memory.estimates.baseline import MaturedRewards, means_of
from app.memory.estimates.calibration import Calibration, Past, calibration, mean_block
from app.memory.estimates.inquiry import Inquiry, Terms, inquiry
from app.memory.estimates.interval import LEVEL, correction, uncorrected
from app.memory.estimates.judgement import INTERVAL_BACKCASTS
from app.memory.estimates.kept_histories import KeptHistories
from app.memory.estimates.kernel import DEFAULT_KERNEL
from app.memory.estimates.matured import matured
from app.memory.estimates.shrinkage import best_m, drawn_in
from app.memory.questions import checked
from app.model import EpisodicFilter, EpisodicQuestion, horizon_name
from app.storage.histories import HistoryReader

MAX_ESTIMATES = 1000
"""How many past estimates of each action count: the latest ones."""

RECHOSEN_EVERY = 20
"""How many past estimates pass before the shrinkage is chosen again."""

FEWEST = 20


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """A calibration. `as_of` is unix seconds; None means now.

    `whole_since` (unix seconds): some of what was known before then was purged.
    """

    agent_id: str
    as_of: float | None
    level: float
    calibration: Calibration
    whole_since: float | None


class CalibrationOperations:
    """Compares past estimates with their outcomes."""

    def __init__(
        self,
        *,
        histories: KeptHistories,
        backcasts: BackcastMaker,
        reader: HistoryReader,
        admit: AgentAdmission,
    ) -> None:
        self._reader = reader
        self._histories = histories
        self._backcasts = backcasts
        self._admit = admit

    async def record(self, request: CalibrationRequest) -> CalibrationRecord:
        """Return how well an agent's estimates matched the outcomes, up to a moment.

        The agent's past moments are estimated as of their own time; those not estimated yet take a
        search each. Raise AgentForbidden, ScopeForbidden, InvalidInput, StorageError.
        """
        await self._admit(request.agent_id)
        caller.require_scope(request.scope)
        caller.require_top_k(request.top_k)
        question = EpisodicQuestion(
            agent_id=request.agent_id,
            vector=b"",
            top_k=request.top_k,
            scope=request.scope,
            filter=EpisodicFilter(
                as_of=checked(request.as_of),
                horizon=None if request.horizon is None else horizon_name(request.horizon),
            ),
            max_distance=None,
            exact=False,
            include_vectors=False,
            consistency="eventual",
        )
        terms = Terms(
            kernel=DEFAULT_KERNEL,
            stop_loss=0.0,
            is_distinct=request.distinct == "outcome",
            horizon=question.filter.horizon,
            is_scaled=request.scaled,
        )
        histories = await self._histories.in_question(question)
        past: list[Past] = []
        if histories is not None and (own := histories.get(request.agent_id)) is not None:
            asked = inquiry(question, terms, 1.0 if request.scaled else None, histories)
            for action in own.actions():
                if request.action is None or action == request.action:
                    past += await self._of_action(asked, action)
        found = await asyncio.to_thread(_summed_up, past)
        as_of = question.filter.as_of
        asked_of = request.agent_id if request.scope == "own" else None
        whole_since = await self._reader.whole_since(asked_of, as_of)
        return CalibrationRecord(request.agent_id, as_of, LEVEL, found, whole_since)

    async def _of_action(self, asked: Inquiry, action: str | None) -> list[Past]:
        backcasts = await self._backcasts.all_of(asked, action, count=MAX_ESTIMATES)
        if backcasts is None or len(backcasts) < FEWEST:
            return []
        parts = [
            matured(
                history,
                asked.timeless,
                asked.terms.horizon,
                action,
                is_scaled=asked.terms.is_scaled,
                as_of=asked.as_of,
            ).rewards
            for _, history in asked.pool
        ]
        return [await asyncio.to_thread(_as_answered, backcasts, parts, asked.terms)]


def _as_answered(backcasts: Backcasts, parts: Sequence[MaturedRewards], terms: Terms) -> Past:
    """Return each estimate as it would have been answered at its own time."""
    n, base = means_of(parts, backcasts.start)
    with np.errstate(invalid="ignore", divide="ignore"):
        losses = [part.losses(backcasts.start, -terms.stop_loss) for part in parts]
        base_loss = np.sum(losses, axis=0) / n
    lost = (backcasts.reward < -terms.stop_loss).astype(np.float64)
    spread = np.ones(len(backcasts)) if terms.is_scaled else backcasts.stdev
    low, high, value, loss = (np.full(len(backcasts), np.nan) for _ in range(4))
    m_value = m_loss = np.inf
    for i in range(len(backcasts)):
        known = np.flatnonzero((backcasts.end <= backcasts.start[i]) & (n > 0))
        if len(known) >= FEWEST:
            last = known[-INTERVAL_BACKCASTS:]
            moved = correction(
                backcasts.low[last], backcasts.high[last], spread[last], backcasts.reward[last]
            )
            if moved is not None:
                told = backcasts.low.item(i), backcasts.high.item(i)
                interval = moved.interval(*told, spread.item(i)) or uncorrected(*told)
                low[i], high[i] = interval.low, interval.high
            if i % RECHOSEN_EVERY == 0 or not np.isfinite(value[i - 1]):
                independent = backcasts.independent_n[known]
                said, came = backcasts.value[known], backcasts.reward[known]
                m_value = best_m(said, base[known], independent, came)
                said_loss = backcasts.loss_probability[known]
                m_loss = best_m(said_loss, base_loss[known], independent, lost[known])
            own = backcasts.independent_n.item(i)
            value[i] = drawn_in(backcasts.value.item(i), base.item(i), own, m_value)
            own_loss = backcasts.loss_probability.item(i)
            loss[i] = drawn_in(own_loss, base_loss.item(i), own, m_loss)
    is_told = np.isfinite(value)
    return Past(
        start=backcasts.start[is_told],
        end=backcasts.end[is_told],
        reward=backcasts.reward[is_told],
        low=low[is_told],
        high=high[is_told],
        value=value[is_told],
        baseline=base[is_told],
        loss=lost[is_told],
        loss_probability=loss[is_told],
        baseline_loss_probability=base_loss[is_told],
    )


def _summed_up(parts: Sequence[Past]) -> Calibration:
    """Return the statistics of all actions together, in order of time."""
    columns = {
        name: np.concatenate([np.empty(0), *(getattr(part, name) for part in parts)])
        for name in Past.__dataclass_fields__
    }
    order = np.argsort(columns["start"], kind="stable")
    past = Past(**{name: column[order] for name, column in columns.items()})
    return calibration(past, mean_block=mean_block(past.start, past.end))
