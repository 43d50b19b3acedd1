"""Runs evaluations as jobs: one at a time in each process, cancelled when nobody waits."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from dataclasses import asdict
from uuid import uuid4

from app.auth import caller
from app.auth.limits import AgentAdmission
from app.contract.evaluation import Evaluate, Evaluation, EvaluationResult
from app.errors import EvaluationUnknown, HistoryTooLong, MemoryServiceError, Overloaded
from app.evaluate.kept import KeptEvaluations
from app.evaluate.placebos import Plan, compare
from app.evaluate.questions import REST, Looked, NeighbourSearch, Wanted, memory_of
from app.evaluate.scores import Rules
from app.memory.estimates.kept_histories import KeptHistories
from app.memory.questions import checked
from app.model import horizon_name

logger = logging.getLogger(__name__)

MAX_WAITING = 8
"""How many evaluations a process holds, including the running one."""

TOLD_EVERY_S = 0.5


class Evaluator:
    """Evaluates one agent's memory."""

    def __init__(self, histories: KeptHistories, neighbours: NeighbourSearch) -> None:
        self._histories = histories
        self._neighbours = neighbours

    async def evaluate(
        self, request: Evaluate, on_progress: Callable[[int, int], None]
    ) -> EvaluationResult:
        """Return the verdict. `on_progress` gets the number of questions asked and the total.

        Raise HistoryTooLong if the agent holds too much, StorageError, Overloaded.
        """
        wanted = Wanted(
            agent_id=request.agent_id,
            since=request.since,
            until=request.until,
            as_of=request.as_of,
            action=request.action,
            horizon=None if request.horizon is None else horizon_name(request.horizon),
            top_k=request.top_k,
            is_distinct=request.distinct == "outcome",
        )
        histories = await self._histories.of([request.agent_id], is_fresh=True)
        if histories is None:
            raise HistoryTooLong(
                f"agent_id: {request.agent_id} holds more memories than "
                "MEMORY_ESTIMATE_HISTORY_MEMORIES: raise that setting.",
                field="agent_id",
            )
        history = histories[request.agent_id]
        memory = memory_of(history, wanted)
        asked = await self._neighbours.ask(Looked(memory, history, wanted), on_progress)
        plan = Plan(
            rules=Rules(stop_loss=request.stop_loss, cost=request.cost),
            placebos=request.placebos,
            seed=request.seed,
            decides=request.statistic,
            rest=REST,
        )
        found = await compare(memory, asked, plan)
        return EvaluationResult.model_validate(
            {
                "verdict": found.verdict,
                "statistic": found.statistic,
                "memories": len(memory.ids),
                "eligible": memory.eligible,
                "asked": len(memory.asked),
                "questions": len(asked.rows),
                "findings": [asdict(finding) for finding in found.findings],
            }
        )


class EvaluateOperations:
    """Starts, reports and cancels evaluations. `now` gives unix seconds."""

    def __init__(
        self,
        evaluator: Evaluator,
        kept: KeptEvaluations,
        *,
        now: Callable[[], float],
        admit: AgentAdmission,
    ) -> None:
        self.evaluator = evaluator
        self._kept = kept
        self._now = now
        self._admit = admit
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(1)

    async def start(self, request: Evaluate) -> Evaluation:
        """Start an evaluation and return it as it begins.

        Raise AgentForbidden, InvalidInput, RateLimited, Overloaded, StorageError.
        """
        await self._admit(request.agent_id)
        caller.require_top_k(request.top_k)
        checked(request.as_of)
        if len(self._jobs) >= MAX_WAITING:
            raise Overloaded(
                f"{MAX_WAITING} evaluations are waiting or running: try again later.",
                retry_after_s=10,
            )
        evaluation = Evaluation(
            id=uuid4().hex,
            agent_id=request.agent_id,
            status="waiting",
            done=0,
            total=0,
            created_at=self._now(),
            request=request.model_dump(),
        )
        await self._kept.create(evaluation)
        # An empty context, because the caller's deadline must not apply here.
        job = asyncio.create_task(self._run(request, evaluation.model_copy()), context=Context())
        self._jobs[evaluation.id] = job
        job.add_done_callback(lambda _: self._jobs.pop(evaluation.id))
        return evaluation

    async def find(self, name: str) -> Evaluation:
        """Return an evaluation and mark it as wanted. Raise EvaluationUnknown, StorageError."""
        found = await self._own(name)
        await self._kept.want(found)
        return found

    async def delete(self, name: str) -> None:
        """Cancel and delete an evaluation. Raise EvaluationUnknown, StorageError."""
        await self._own(name)
        await self._kept.delete(name)

    async def aclose(self) -> None:
        """Cancel what is in progress."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def _own(self, name: str) -> Evaluation:
        found = await self._kept.find(name)
        # Do not reveal whether another agent's evaluation exists.
        if found is None or not caller.caller.get().may_touch(found.agent_id):
            raise EvaluationUnknown(
                f"There is no evaluation {name}: start one, or ask for another."
            )
        return found

    async def _run(self, request: Evaluate, state: Evaluation) -> None:
        """Run it and store its progress, until it is done or nobody waits for it."""
        work = asyncio.create_task(self._in_turn(request, state))
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=TOLD_EVERY_S)
                if not await self._kept.update(state):
                    return
                if not await self._kept.is_wanted(state.id):
                    state.status = "cancelled"
                    await self._kept.update(state)
                    return
            work.result()
        except MemoryServiceError as error:
            logger.warning("An evaluation ended: %s", error.detail)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _in_turn(self, request: Evaluate, state: Evaluation) -> None:
        def on_progress(done: int, total: int) -> None:
            state.done, state.total = done, total

        async with self._turn:
            state.status = "running"
            try:
                state.result = await self.evaluator.evaluate(request, on_progress)
                state.status = "done"
            except MemoryServiceError as error:
                state.problem, state.status = error.problem(), "failed"
