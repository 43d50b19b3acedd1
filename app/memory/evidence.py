"""Finds the memories that answer a question: those that were known and add independent evidence.

A question for evidence returns the memories' places, not their content; that comes from the agents'
histories. If fewer than `top_k` are left, the question is repeated for twice as many.
"""

import math
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import orjson

from app.memory.estimates.action_values import Neighbour
from app.memory.estimates.evidence import Interval, first_distinct
from app.memory.estimates.history import ABSENT, Fact, History
from app.memory.estimates.kept_histories import KeptHistories
from app.memory.estimates.matured import most_apart
from app.model import Answer, EpisodicQuestion, Hit, Places, horizon_name
from app.read_path.stage import Recall

MAX_CANDIDATES = 4000
"""The most memories that are examined for one question."""

_LAST_MOMENT = sys.float_info.max
"""Earlier than the end of an open memory, which is infinite."""

REACHES_KEPT = 10_000
"""For how many agents and scopes the reach that their questions needed is remembered."""


Name = tuple[str, str]
"""An agent, and the id of one of its memories."""


@dataclass(slots=True)
class Evidence:
    """The memories that count, nearest first: `names` are their agents and ids.

    `found` were examined, `overlapping` of them left out.
    """

    neighbours: list[Neighbour]
    names: list[Name]
    found: int
    overlapping: int
    answer: Answer

    @property
    def ids(self) -> list[str]:
        """Return the ids, which are unique within an agent only."""
        return [name for _, name in self.names]


Memory = tuple[str, int]
"""An agent, and the number that a memory got when it was stored."""


class _Candidates(Protocol):
    """Closed memories, nearest first, with what shows whether they are distinct."""

    products: list[object]
    intervals: list[Interval]

    def evidence(self, kept: list[int], scale: float | None) -> tuple[list[Neighbour], list[Name]]:
        """Return those at these positions with their names, in units of a question's scale."""
        ...


class EvidenceSearch:
    """Finds evidence by searches on the read path."""

    def __init__(self, recall: Recall, histories: KeptHistories) -> None:
        self._recall = recall
        self._histories = histories
        self._reach: OrderedDict[tuple[str, str, int], int] = OrderedDict()

    async def find(
        self,
        question: EpisodicQuestion,
        histories: Mapping[str, History] | None,
        *,
        horizon: str | None,
        is_distinct: bool,
        scale: float | None,
        besides: Memory | None = None,
    ) -> Evidence:
        """Return the `top_k` nearest closed memories, no two of which are one piece of evidence.

        `histories` None: the agents hold too much for histories, so whole records are read. Rewards
        are in units of `scale`; a memory without a scale of its own counts as one of this scale.
        `besides`: the memory that asks about itself, which is no evidence.
        Raise StorageError, Overloaded.
        """
        wanted = question.top_k
        key = (question.agent_id, question.scope, wanted)
        ask = wanted
        if is_distinct:
            ask = min(MAX_CANDIDATES, wanted * self._reach.get(key, 2))
        asked = replace(question, top_k=ask, places_only=histories is not None)
        while True:
            answer = await self._recall.recall(asked)
            candidates = await self._candidates(answer, histories, question, horizon, besides)
            count = wanted
            if is_distinct:
                chosen = first_distinct(candidates.products, candidates.intervals, count)
                if len(chosen.kept) < wanted and histories is not None:
                    # No more can be apart in time: stop once that many are found.
                    count = min(wanted, _most(question, histories, horizon))
                    chosen = first_distinct(candidates.products, candidates.intervals, count)
                kept, found = chosen.kept, chosen.found
            else:
                kept = list(range(min(count, len(candidates.products))))
                found = len(kept)
            hits = len(answer.hits if answer.places is None else answer.places)
            if len(kept) >= count or hits < asked.top_k or asked.top_k >= MAX_CANDIDATES:
                break
            asked = _wider(asked, horizon, len(candidates.products) < hits / 2)
        if is_distinct:
            self._note(key, found, wanted)
        neighbours, names = candidates.evidence(kept, scale)
        return Evidence(neighbours, names, found, found - len(kept), answer)

    def _note(self, key: tuple[str, str, int], found: int, wanted: int) -> None:
        """Remember how far this question had to reach; the next one starts there."""
        reach = 1
        while reach * wanted < found:
            reach *= 2
        self._reach[key] = reach
        self._reach.move_to_end(key)
        if len(self._reach) > REACHES_KEPT:
            self._reach.popitem(last=False)

    async def _candidates(
        self,
        answer: Answer,
        histories: Mapping[str, History] | None,
        question: EpisodicQuestion,
        horizon: str | None,
        besides: Memory | None,
    ) -> _Candidates:
        as_of = math.inf if question.filter.as_of is None else question.filter.as_of
        if histories is None:
            return _Records(answer.hits, horizon, as_of)
        assert answer.places is not None
        places = answer.places if besides is None else answer.places.without(*besides)
        found = _LookedUp(places, histories, horizon, as_of)
        if found.missing:  # stored since the histories were read
            names = sorted(found.missing | set(histories))
            again = await self._histories.of(names, is_fresh=True)
            if again is not None:
                return _LookedUp(places, again, horizon, as_of)
        return found


def _most(question: EpisodicQuestion, histories: Mapping[str, History], horizon: str | None) -> int:
    """Return the largest number of memories in question that can be apart in time."""
    return most_apart(
        [
            history
            for name, history in histories.items()
            if question.scope != "others" or name != question.agent_id
        ],
        replace(question.filter, as_of=None, closed=False),
        horizon,
        question.filter.as_of,
    )


def _wider(asked: EpisodicQuestion, horizon: str | None, is_mostly_open: bool) -> EpisodicQuestion:
    """Return the question for twice as many; without open memories if those took the room."""
    wanted = asked.filter
    if is_mostly_open and horizon is None:
        wanted = replace(wanted, closed=True)
    return replace(asked, top_k=min(MAX_CANDIDATES, 2 * asked.top_k), filter=wanted)


async def chosen_hits(recall: Recall, question: EpisodicQuestion, *, is_distinct: bool) -> Answer:
    """Return the nearest memories for a search with distinct ones or with a horizon.

    Only memories whose outcome at the horizon was known as of the question's moment; with
    `is_distinct`, no two of a product that overlap in time. Open ones overlap with none. The answer
    says how many were examined. Raise StorageError.
    """
    wanted = question.filter
    as_of = math.inf if wanted.as_of is None else wanted.as_of
    asked = replace(question, top_k=min(MAX_CANDIDATES, 2 * question.top_k))
    while True:
        answer = await recall.recall(asked)
        records = [orjson.loads(hit.record) for hit in answer.hits]
        outcomes = [_outcome(record, wanted.horizon) for record in records]
        known = [
            i
            for i, outcome in enumerate(outcomes)
            if wanted.horizon is None
            or (outcome["reward"] is not None and outcome["outcome_at"] <= as_of)
        ]
        if is_distinct:
            chosen = first_distinct(
                [records[i]["product_id"] for i in known],
                [_interval_of(records[i], outcomes[i]) for i in known],
                question.top_k,
            )
            kept, found = [known[i] for i in chosen.kept], chosen.found
        else:
            kept, found = known[: question.top_k], None
        is_whole = len(answer.hits) < asked.top_k or asked.top_k >= MAX_CANDIDATES
        if len(kept) == question.top_k or is_whole:
            return replace(answer, hits=tuple(answer.hits[i] for i in kept), candidates=found)
        asked = _wider(asked, wanted.horizon, is_mostly_open=False)


class _LookedUp:
    """Candidates whose content is in the agents' histories, except that of `missing` agents."""

    def __init__(
        self,
        places: Places,
        histories: Mapping[str, History],
        horizon: str | None,
        as_of: float,
    ) -> None:
        self.missing: set[str] = set()
        facts: list[Fact | None] = [None] * len(places)
        if len(places.agents) == 1:
            facts = self._of_agent(places.agents[0], histories, horizon, places.seqs)
        else:
            for number, agent_id in enumerate(places.agents):
                at = [i for i, which in enumerate(places.which) if which == number]
                own = self._of_agent(agent_id, histories, horizon, [places.seqs[i] for i in at])
                for i, fact in zip(at, own, strict=True):
                    facts[i] = fact
        rows = zip(facts, places.distances, places.which, strict=True)
        latest = min(as_of, _LAST_MOMENT)
        self._agents = places.agents
        self._found: list[tuple[Fact, float, int]] = [
            (fact, distance, which)
            for fact, distance, which in rows
            if fact is not None and fact.end <= latest
        ]
        self.products: list[object] = [fact.product for fact, _, _ in self._found]
        self.intervals = [fact.interval for fact, _, _ in self._found]

    def evidence(self, kept: list[int], scale: float | None) -> tuple[list[Neighbour], list[Name]]:
        """Return those at these positions with their names, in units of a question's scale."""
        found = [self._found[i] for i in kept]
        if scale is None:
            neighbours = [
                Neighbour(fact.action, fact.reward, distance, fact.product, fact.interval)
                for fact, distance, _ in found
            ]
        else:
            neighbours = [
                Neighbour(
                    fact.action,
                    fact.reward if math.isnan(fact.scale) else fact.reward / fact.scale * scale,
                    distance,
                    fact.product,
                    fact.interval,
                )
                for fact, distance, _ in found
            ]
        return neighbours, [(self._agents[which], fact.id) for fact, _, which in found]

    def _of_agent(
        self,
        agent_id: str,
        histories: Mapping[str, History],
        horizon: str | None,
        seqs: Sequence[int],
    ) -> list[Fact | None]:
        """Return the facts of an agent's memories. None for one that its history lacks."""
        history = histories.get(agent_id)
        if history is None:
            self.missing.add(agent_id)
            return [None] * len(seqs)
        rows = history.places_of(seqs)
        facts = history.facts(horizon)
        if ABSENT in rows:
            self.missing.add(agent_id)
            return [None if row == ABSENT else facts[row] for row in rows]
        return [facts[row] for row in rows]


class _Records:
    """Candidates as whole records."""

    def __init__(self, hits: Sequence[Hit], horizon: str | None, as_of: float) -> None:
        self.products: list[object] = []
        self.intervals: list[Interval] = []
        self._found: list[tuple[dict[str, Any], float, float]] = []
        for hit in hits:
            record: dict[str, Any] = orjson.loads(hit.record)
            outcome = _outcome(record, horizon)
            if outcome["reward"] is not None and outcome["outcome_at"] <= as_of:
                self.products.append(record["product_id"])
                self.intervals.append(_interval_of(record, outcome))
                self._found.append((record, outcome["reward"], hit.distance))

    def evidence(self, kept: list[int], scale: float | None) -> tuple[list[Neighbour], list[Name]]:
        """Return those at these positions with their names, in units of a question's scale."""
        neighbours, names = [], []
        for i in kept:
            record, reward, distance = self._found[i]
            own = record.get("scale")
            if scale is not None and own is not None:
                reward = reward / own * scale
            action, product = record["action"], self.products[i]
            neighbours.append(Neighbour(action, reward, distance, product, self.intervals[i]))
            names.append((record["agent_id"], record["id"]))
        return neighbours, names


def _outcome(record: Mapping[str, Any], horizon: str | None) -> Mapping[str, Any]:
    if horizon is None:
        return record
    named = [o for o in record.get("outcomes", ()) if horizon_name(o["horizon"]) == horizon]
    return named[0] if named else {"reward": None}


def _interval_of(record: Mapping[str, Any], outcome: Mapping[str, Any]) -> Interval:
    """Return the interval that an outcome covers.

    If the caller gave no `outcome_at`, it is the moment of storing and says nothing.
    """
    start, end = record["timestamp"], outcome["outcome_at"]
    return start, start if end is None or end == record.get("recorded_at") else end
