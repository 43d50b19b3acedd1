"""The agents that a caller may see, with summaries of their memories."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.auth import caller as access
from app.errors import MemoryNotFound
from app.memory.questions import refuse_present
from app.storage.agent_summaries import (
    LATEST,
    AgentSummaries,
    AgentTotals,
    Growth,
    GrowthBy,
    RegimeTotals,
)
from app.storage.agents import page_of
from app.storage.statistics import Statistics

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class AgentPage:
    """Agents by name. `next_agent` is None on the last page.

    The agents of `silent_groups`, which did not answer, are missing.
    """

    agents: Sequence[AgentTotals]
    next_agent: str | None
    silent_groups: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SwarmMember:
    """One agent. `regimes` covers at most its latest `regimes_of` memories."""

    summary: AgentTotals
    regimes: Sequence[RegimeTotals]
    regimes_of: int


class SwarmOperations:
    """Reports on agents. `now` returns unix seconds."""

    def __init__(
        self, summaries: AgentSummaries, statistics: Statistics, now: Callable[[], float]
    ) -> None:
        self._summaries = summaries
        self._statistics = statistics
        self._now = now

    async def page(self, *, after: str | None, limit: int) -> AgentPage:
        """Return up to `limit` agents by name after `after`. Raise StorageError."""
        may_touch = access.caller.get().may_touch
        there = await self._statistics.agents()
        chosen, next_agent = page_of(filter(may_touch, there.names), after, limit)
        agents = await self._summaries.of(chosen, since=self._now() - DAY_S)
        return AgentPage(agents, next_agent, there.silent)

    async def growth(self, agent_id: str, by: GrowthBy, points: int) -> Growth:
        """Return how an agent's memory grew. Raise MemoryNotFound or AgentForbidden."""
        access.require_agent(agent_id)
        refuse_present("the figures of an agent")
        growth = await self._summaries.growth(agent_id, by, points)
        if not growth.times and not growth.undated:
            raise MemoryNotFound(f"Agent {agent_id} has no memories: check its name.")
        return growth

    async def detail(self, agent_id: str) -> SwarmMember:
        """Return one agent. Raise MemoryNotFound for a name without memories, or AgentForbidden."""
        access.require_agent(agent_id)
        refuse_present("the figures of an agent")
        (summary,) = await self._summaries.of([agent_id], since=self._now() - DAY_S)
        if not summary.memories:
            raise MemoryNotFound(f"Agent {agent_id} has no memories: check its name.")
        return SwarmMember(summary, await self._summaries.regimes(agent_id), LATEST)
