"""The agents that a caller may see, with summaries of their memories."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from app.auth import caller as access
from app.errors import MemoryNotFound
from app.memory.live import NEAREST, Kind
from app.memory.questions import refuse_present
from app.metrics import CROWDING
from app.model import Answer
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
ANSWERS = 1024
"""Answers to questions across agents that each process remembers: the latest."""
MAX_PAIRS = 500
FEW = 10
"""How many of the most used memories crowding is about."""


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


@dataclass(frozen=True, slots=True)
class Flow:
    """How often one agent's questions were answered with another's memories.

    `memories`: how many of the NEAREST ones of these answers were the owner's.
    """

    asker: str
    owner: str
    recalls: int
    estimates: int
    memories: int


@dataclass(frozen=True, slots=True)
class Flows:
    """Who asked whom, by the latest `answers`.

    `since`: when the first of them was given (unix seconds), None without answers. `crowding` is
    None for a caller that is bound to agents.
    """

    pairs: Sequence[Flow]
    answers: int
    since: float | None
    crowding: float | None


@dataclass(frozen=True, slots=True)
class _Answered:
    """An answer across agents: `records` of the NEAREST memories, or only their `owners`."""

    at: float
    kind: Kind
    asker: str
    records: tuple[bytes, ...] = ()
    owners: tuple[str, ...] = ()


class CrossAnswers:
    """The latest answers across agents, in this process: who asked whom, and how much they rely on
    the same few memories. `now` returns unix seconds.

    An answer costs a reference to its records. They are read when somebody looks.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._answers: deque[_Answered] = deque(maxlen=ANSWERS)

    def note(self, kind: Kind, asker: str, answer: Answer) -> None:
        """Add the answer to a question across agents."""
        records = tuple([hit.record for hit in answer.hits[:NEAREST]])
        places = answer.places
        owners = [] if places is None else [places.agents[at] for at in places.which[:NEAREST]]
        self._answers.append(_Answered(self._now(), kind, asker, records, tuple(owners)))

    def pairs(self) -> Flows:
        """Return the pairs that the caller may see, most memories first."""
        asking = access.caller.get()
        seen = [answer for answer in self._answers if asking.may_touch(answer.asker)]
        records = {record for answer in seen for record in answer.records}
        owner_of: dict[bytes, str] = {one: orjson.loads(one)["agent_id"] for one in records}
        questions: Counter[tuple[str, str, Kind]] = Counter()
        memories: Counter[tuple[str, str]] = Counter()
        for answer in seen:
            owners = Counter(answer.owners or [owner_of[one] for one in answer.records])
            for owner, count in owners.items():
                questions[answer.asker, owner, answer.kind] += 1
                memories[answer.asker, owner] += count
        pairs = [
            Flow(
                asker=asker,
                owner=owner,
                recalls=questions[asker, owner, "recall"],
                estimates=questions[asker, owner, "estimate"],
                memories=count,
            )
            for (asker, owner), count in memories.most_common()
            if asking.may_touch(owner)
        ]
        return Flows(
            pairs=pairs[:MAX_PAIRS],
            answers=len(seen),
            since=seen[0].at if seen else None,
            crowding=self.crowding() if asking.agents is None else None,
        )

    async def measure(self) -> None:
        """Update the gauge of crowding."""
        CROWDING.set(self.crowding())

    def crowding(self) -> float:
        """Return the share of these searches that found one of the FEW most used memories among
        their NEAREST, 0 to 1; 0 without any."""
        searches = [answer.records for answer in self._answers if answer.records]
        if not searches:
            return 0.0
        used = Counter(record for records in searches for record in records)
        few = {record for record, _ in used.most_common(FEW)}
        return sum(not few.isdisjoint(records) for records in searches) / len(searches)


class SwarmOperations:
    """Reports on agents. `now` returns unix seconds."""

    def __init__(
        self,
        summaries: AgentSummaries,
        statistics: Statistics,
        asked: CrossAnswers,
        now: Callable[[], float],
    ) -> None:
        self._summaries = summaries
        self._statistics = statistics
        self._now = now
        self.asked = asked

    async def page(self, *, after: str | None, limit: int, has_times: bool = True) -> AgentPage:
        """Return up to `limit` agents by name after `after`; all but their counts needs searches,
        which `has_times` False leaves out. Raise StorageError."""
        may_touch = access.caller.get().may_touch
        there = await self._statistics.agents()
        chosen, next_agent = page_of(filter(may_touch, there.names), after, limit)
        silent = list(there.silent)
        if has_times:
            agents = await self._summaries.of(chosen, since=self._now() - DAY_S, silent=silent)
        else:
            agents = await self._summaries.counts(chosen, silent=silent)
        return AgentPage(agents, next_agent, silent)

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
