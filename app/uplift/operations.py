"""Posts decisions and their outcomes, and reports what the memory adds to them."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import get_args

from app.auth import caller
from app.auth.limits import AgentAdmission
from app.context import required
from app.contract.decisions import (
    AgentUplift,
    Decide,
    Decision,
    DecisionClosed,
    DecisionOutcome,
    Uplift,
    UpliftPage,
)
from app.contract.evaluation import VerdictName
from app.decisions.arms import Arms
from app.decisions.ledger import Decided, DecisionLedger
from app.decisions.recall_ids import RecallTicket, needs_agent, read_recall_id
from app.errors import (
    DecisionConflict,
    DecisionsFull,
    DecisionUnknown,
    InvalidInput,
    RecallUnknown,
)
from app.memory.questions import refuse_present
from app.metrics import UPLIFT_AGENTS
from app.nodes.job_lock import JobLock
from app.nodes.jobs import periodically
from app.storage.agents import AgentNames, page_of
from app.uplift.confidence import LEVEL
from app.uplift.report import figures_of, uplift_of

WATCH_JOB = "uplift"
WATCH_INTERVAL_S = 30.0


class DecisionOperations:
    """Opens, closes and reports decisions of agents."""

    def __init__(
        self, ledger: DecisionLedger, arms: Arms, names: AgentNames, admit: AgentAdmission
    ) -> None:
        self._ledger = ledger
        self._arms = arms
        self._names = names
        self._admit = admit

    async def decide(self, request: Decide) -> Decision:
        """Open a decision.

        Raise RecallUnknown, AgentForbidden, DecisionConflict, DecisionsFull, StorageError.
        """
        ticket = await self._ticket(request.recall_id, request.agent_id)
        if request.arm not in {None, ticket.arm}:
            raise DecisionConflict(
                f"This recall was answered by the arm {ticket.arm}: post that, or leave arm out."
            )
        decided = Decided(request.action, request.product_id, request.regime)
        became = await self._ledger.open(ticket, decided)
        if became == "conflict":
            raise DecisionConflict(
                "Another decision was posted for this recall: one recall leads to one decision."
            )
        if became == "full":
            raise DecisionsFull(
                f"Agent {ticket.agent_id} has too many open decisions: post their outcomes first."
            )
        return Decision(
            recall_id=ticket.recall_id,
            agent_id=ticket.agent_id,
            arm=ticket.arm,
            action=request.action,
            created=became == "opened",
            counts=became != "other",
            durability=required(),
        )

    async def close(self, recall_id: str, outcome: DecisionOutcome) -> DecisionClosed:
        """Record the outcome of a decision.

        Raise RecallUnknown, AgentForbidden, DecisionUnknown, DecisionConflict, StorageError.
        """
        ticket = await self._ticket(recall_id, outcome.agent_id)
        became = await self._ledger.close(ticket, outcome.reward)
        if became in {"missing", "other"}:
            raise DecisionUnknown(
                "There is no open decision for this recall: it was not posted, does not count, or "
                "has expired."
            )
        if became == "conflict":
            # The message does not say which, because it may lie in the caller's future.
            raise DecisionConflict("The decision has another outcome: an outcome is given once.")
        if became == "uncounted":
            raise InvalidInput("reward: is too large to be added to the others.", field="reward")
        return DecisionClosed(
            recall_id=recall_id,
            agent_id=ticket.agent_id,
            changed=became == "counted",
            durability=required(),
        )

    async def report(self, agent_id: str) -> Uplift:
        """Return what the memory adds to decisions. Raise AgentForbidden, StorageError."""
        await self._admit(agent_id)
        refuse_present("the uplift of an agent")
        return uplift_of(agent_id, await self._ledger.sums(agent_id))

    async def page(self, *, after: str | None, limit: int) -> UpliftPage:
        """Return agents with closed decisions, among up to `limit` of the caller's by name after
        `after`. Raise StorageError."""
        refuse_present("the uplift of agents")
        may_touch = caller.caller.get().may_touch
        there = await self._names.found()
        chosen, next_cursor = page_of(filter(may_touch, there.names), after, limit)
        found = await self._ledger.totals(chosen)
        silent = sorted({*there.silent, *found.silent})
        return UpliftPage(
            agents=[
                AgentUplift(agent_id=name, **dict(figures_of(found.sums[name])))
                for name in sorted(found.sums)
            ],
            level=LEVEL,
            next_cursor=next_cursor,
            partial=bool(silent),
            unanswered_groups=silent,
        )

    @asynccontextmanager
    async def watching(self, job_lock: JobLock) -> AsyncIterator[None]:
        """Keep the metrics of how many agents the memory helps and harms, while arms are drawn."""

        async def look() -> None:
            if await job_lock.take(WATCH_JOB, WATCH_INTERVAL_S):
                await self._look()

        try:
            if self._arms.shares.are_set:
                async with periodically(look, WATCH_INTERVAL_S, "watching uplift"):
                    yield
            else:
                yield
        finally:
            await self._arms.aclose()

    async def _look(self) -> None:
        """Count agents by verdict against no memory; one service in 20 has a wrong verdict."""
        totals = (await self._ledger.totals(await self._names.all())).sums
        error = (1.0 - LEVEL) / max(1, len(totals))
        verdicts: Counter[VerdictName] = Counter(
            figures_of(sums, error=error).comparisons[0].verdict for sums in totals.values()
        )
        for verdict in get_args(VerdictName):
            UPLIFT_AGENTS.labels(verdict).set(verdicts[verdict])

    async def _ticket(self, recall_id: str, agent_id: str | None) -> RecallTicket:
        ticket = read_recall_id(recall_id, agent_id)
        if ticket is None and agent_id is None and needs_agent(recall_id):
            raise InvalidInput(
                "agent_id: is required, because this recall's id has no room for its agent's name.",
                field="agent_id",
            )
        if ticket is None:
            raise RecallUnknown(
                "This is not a recall's id: ask with recall: true, and post the recall_id of that "
                "answer."
            )
        await self._admit(ticket.agent_id)
        if not self._ledger.is_in_time(ticket):
            raise RecallUnknown(
                "This recall is older than MEMORY_DECISION_OPEN_DAYS: it no longer counts."
            )
        return ticket
