"""Evaluations as jobs, with progress."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

from app.auth import caller
from app.auth.limits import AgentAdmission
from app.contract.evaluation import Evaluate, Evaluation, EvaluationResult
from app.errors import EvaluationUnknown, MetricFromTheFuture
from app.evaluate.kept import KeptJobs
from app.evaluate.placebos import Plan, compare, compare_plain
from app.evaluate.questions import REST, Looked, NeighbourSearch, Wanted, memory_of
from app.evaluate.scores import Rules
from app.evaluate.turns import JobRunner, Turns, progress_of
from app.memory.distances.lookup import Metrics
from app.memory.estimates.kept_histories import KeptHistories
from app.memory.estimates.kernel import Kernel
from app.memory.questions import checked
from app.model import Metric, horizon_name
from app.storage.histories import HistoryReader

GAIN = ("value", "low", "high")


class Evaluator:
    """Evaluates one agent's memory."""

    def __init__(
        self,
        histories: KeptHistories,
        reader: HistoryReader,
        neighbours: NeighbourSearch,
        metrics: Metrics,
    ) -> None:
        self._histories = histories
        self._reader = reader
        self._neighbours = neighbours
        self._metrics = metrics

    async def metric_of(self, request: Evaluate) -> Metric | None:
        """Return the distance that a request names.

        Raise MetricNotFound, StorageError, or MetricFromTheFuture if it was learned from what came
        after a question.
        """
        metric = await self._metrics.of(request.metric, request.as_of)
        if metric is not None and request.since is not None and request.since < metric.known_at:
            raise MetricFromTheFuture(
                f"since: must not be before {metric.known_at!r}, up to which {metric.id} was "
                "learned.",
                field="since",
            )
        return metric

    async def evaluate(
        self,
        request: Evaluate,
        metric: Metric | None,
        on_progress: Callable[[int, int], None],
    ) -> EvaluationResult:
        """Return the verdict. `on_progress` gets the number of questions asked and the total.

        Raise HistoryTooLong if the agents hold too much, StorageError, Overloaded.
        """
        wanted = Wanted(
            agent_id=request.agent_id,
            scope=request.scope,
            since=request.since if metric is None else _from(request.since, metric),
            until=request.until,
            as_of=request.as_of,
            action=request.action,
            horizon=None if request.horizon is None else horizon_name(request.horizon),
            top_k=request.top_k,
            is_distinct=request.distinct == "outcome",
            product_id=tuple(request.product_id or ()),
            regime=tuple(request.regime or ()),
            is_scaled=request.scaled,
            kernel=Kernel(request.kernel, delta=request.delta, bandwidth=request.bandwidth),
            metric=metric,
        )
        histories = await self._histories.whole(request.agent_id, request.scope)
        memory = memory_of(histories, wanted)
        looked = Looked(memory, histories, wanted)
        passes = 1 if metric is None else 2

        def on_asked(done: int, total: int) -> None:
            on_progress(done, passes * total)

        def on_asked_again(done: int, total: int) -> None:
            on_progress(total + done, passes * total)

        asked = await self._neighbours.ask(looked, on_asked)
        plain = None
        if metric is not None:
            looked = Looked(memory, histories, replace(wanted, metric=None))
            plain = await self._neighbours.ask(looked, on_asked_again)
        plan = Plan(
            rules=Rules(stop_loss=request.stop_loss, cost=request.cost),
            placebos=request.placebos,
            seed=request.seed,
            decides=request.statistic,
            rest=REST,
        )
        found = await compare(memory, asked, plan)
        gain = None
        if plain is not None:
            gain = await asyncio.to_thread(compare_plain, memory, asked, plain, plan)
        asked_of = request.agent_id if request.scope == "own" else None
        whole_since = await self._reader.whole_since(asked_of, request.as_of)
        return EvaluationResult.model_validate(
            {
                "verdict": found.verdict,
                "metric": None if metric is None else metric.id,
                "since": wanted.since,
                "gain": None if gain is None else dict(zip(GAIN, gain, strict=True)),
                "statistic": found.statistic,
                "memories": memory.answering,
                "eligible": memory.eligible,
                "asked": len(memory.asked),
                "questions": len(asked.rows),
                "findings": found.findings,
                "partial": whole_since is not None,
                "whole_since": whole_since,
            }
        )


def _from(since: float | None, metric: Metric) -> float:
    return metric.known_at if since is None else max(since, metric.known_at)


class EvaluateOperations:
    """Starts, reports and cancels evaluations. `now` gives unix seconds."""

    def __init__(
        self,
        evaluator: Evaluator,
        kept: KeptJobs[Evaluation],
        turns: Turns,
        *,
        now: Callable[[], float],
        admit: AgentAdmission,
    ) -> None:
        self.evaluator = evaluator
        self._kept = kept
        self._runner = JobRunner(turns, kept)
        self._now = now
        self._admit = admit

    async def start(self, request: Evaluate) -> Evaluation:
        """Start an evaluation and return it as it begins.

        Raise AgentForbidden, ScopeForbidden, InvalidInput, RateLimited, Overloaded, StorageError,
        MetricNotFound, MetricFromTheFuture.
        """
        await self._admit(request.agent_id)
        caller.require_scope(request.scope)
        caller.require_top_k(request.top_k)
        checked(request.as_of)
        metric = await self.evaluator.metric_of(request)
        evaluation = Evaluation(
            id=uuid4().hex,
            agent_id=request.agent_id,
            status="queued",
            done=0,
            total=0,
            created_at=self._now(),
            request=request.model_dump(),
        )

        async def work(state: Evaluation) -> None:
            state.result = await self.evaluator.evaluate(request, metric, progress_of(state))

        await self._runner.start(evaluation, work)
        return evaluation

    async def find(self, name: str) -> Evaluation:
        """Return an evaluation and mark it as wanted. Raise EvaluationUnknown, StorageError."""
        found = await self.own(name)
        await self._kept.want(found)
        return found

    async def delete(self, name: str) -> None:
        """Cancel an evaluation and forget it. Raise EvaluationUnknown, StorageError."""
        await self.own(name)
        await self._kept.delete(name)

    async def own(self, name: str) -> Evaluation:
        """Return an evaluation that the caller could have asked for. Raise EvaluationUnknown."""
        found, asking = await self._kept.find(name), caller.caller.get()
        # Do not reveal whether another agent's evaluation exists.
        if (
            found is None
            or not asking.may_touch(found.agent_id)
            or not asking.may_ask(found.request.get("scope", "own"))
        ):
            raise EvaluationUnknown(
                f"There is no evaluation {name}: start one, or ask for another."
            )
        return found
