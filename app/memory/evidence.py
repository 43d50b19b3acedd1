"""Finds the memories that answer a question: those that were known and add independent evidence.

A question for evidence returns the memories' places, not their content; that comes from the agents'
histories. If fewer than `top_k` are left, the question is repeated for twice as many.
"""

import math
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson

from app.memory.estimates.action_values import Neighbour
from app.memory.estimates.evidence import Apart, Interval, first_distinct
from app.memory.estimates.history import ABSENT, Fact, History
from app.memory.estimates.inquiry import timeless_filter
from app.memory.estimates.kept_histories import KeptHistories
from app.memory.estimates.magnitude import clamped
from app.memory.estimates.matured import most_apart
from app.memory.estimates.past import (
    PastRecall,
    PastRecalls,
    compared,
    roughly_nearest,
)
from app.memory.estimates.reach import Reach, foreseen
from app.memory.estimates.summary import CompiledSums, Summary, Summing
from app.model import (
    EVERY_EXPERIENCE,
    Answer,
    EpisodicQuestion,
    Hit,
    Places,
    horizon_name,
)
from app.read_path.resident import SERVED_BY
from app.read_path.stage import Recall

MAX_CANDIDATES = 4000
"""The most memories that are examined for one question."""

FEW = 1000
"""A copy in the process finds this many sooner than a choice among them is foreseen."""

_LAST_MOMENT = sys.float_info.max
"""Earlier than the end of an open memory, which is infinite."""

REACHES_KEPT = 10_000
"""For how many agents and scopes the reach that their questions needed is remembered."""


Name = tuple[str, str]
"""An agent, and the id of one of its memories."""


@dataclass(slots=True)
class Evidence:
    """The memories that count, nearest first: `names` are their agents and ids.

    `found` were examined, `overlapping` of them left out. With a summary, `neighbours` is empty.
    """

    neighbours: list[Neighbour]
    names: list[Name]
    found: int
    overlapping: int
    answer: Answer
    summary: Summary | None = None

    @property
    def ids(self) -> list[str]:
        """Return the ids, which are unique within an agent only."""
        return [name for _, name in self.names]


Memory = tuple[str, int]
"""An agent, and the number that a memory got when it was stored."""


class EvidenceSearch:
    """Finds evidence by searches on the read path."""

    def __init__(self, recall: Recall, histories: KeptHistories, pasts: PastRecalls) -> None:
        self._recall = recall
        self._pasts = pasts
        self._histories = histories
        self._compiled = CompiledSums()
        self._reach: OrderedDict[tuple[str, str, int, bool], Reach] = OrderedDict()

    async def find(
        self,
        question: EpisodicQuestion,
        histories: Mapping[str, History] | None,
        *,
        horizon: str | None,
        is_distinct: bool,
        scale: float | None,
        besides: Memory | None = None,
        past: PastRecall | None = None,
        summing: Summing | None = None,
    ) -> Evidence:
        """Return the `top_k` nearest closed memories, no two of which are one piece of evidence.

        `histories` None: the agents hold too much for histories, so whole records are read. Rewards
        are in units of `scale`; a memory without a scale of its own counts as one of this scale.
        `besides`: the memory that asks about itself, which is no evidence; `past` answers it. With
        `summing`, there may be a summary in place of neighbours.
        Raise StorageError, Overloaded.
        """
        wanted, reach = question.top_k, self._reach_of(question, of_past=past is not None)
        is_present = histories is not None and past is None
        how = _How(horizon, is_distinct=is_distinct, scale=scale)
        ask, evidence = wanted, None
        if is_distinct:
            ask = min(MAX_CANDIDATES, math.ceil(wanted * reach.factor))
            is_near = question.filter is EVERY_EXPERIENCE and reach.is_near and ask <= FEW
            if histories is not None and is_present and reach.foresees and not is_near:
                evidence = await self._foreseen(question, ask, histories, how, summing)
                if evidence is None:
                    reach.doubt()
        if evidence is None:
            asked = question.of_size(ask, places_only=histories is not None)
            recall: Recall | PastRecall = self._recall if past is None else past
            answer = await recall.recall(asked)
            if question.filter is EVERY_EXPERIENCE:
                reach.note_near(is_near=answer.served_by == SERVED_BY)
            count, is_most = wanted, not is_distinct
            if histories is not None and is_present and is_distinct and reach.overlaps:
                count = min(wanted, _most_of(reach, question, histories, horizon))
                is_most = True
            if summing is not None and histories is not None and self._sums(question, answer):
                is_last = is_most and (ask >= MAX_CANDIDATES or len(answer.places or ()) < ask)
                own = histories[question.agent_id]
                evidence = self._summed(own, answer, count, how, summing, is_last=is_last)
            if evidence is None:
                evidence = await self._examined(
                    recall,
                    asked,
                    answer,
                    histories,
                    how,
                    wanted=wanted,
                    count=count,
                    besides=besides,
                )
        if is_distinct:
            reach.note(evidence.found / wanted, has_overlapped=evidence.overlapping > 0)
        return evidence

    async def _examined(
        self,
        recall: Recall | PastRecall,
        asked: EpisodicQuestion,
        answer: Answer,
        histories: Mapping[str, History] | None,
        how: "_How",
        *,
        wanted: int,
        count: int,
        besides: Memory | None,
    ) -> Evidence:
        """Return the evidence among what was found; ask for more until there is enough of it.

        `count` of `wanted` memories are known to be all that there can be.
        """
        as_of = asked.filter.as_of
        known_at = _LAST_MOMENT if as_of is None else as_of
        while True:
            candidates = await self._looked_up(answer, histories, how.horizon, besides)
            chosen = _Chosen(count, is_distinct=how.is_distinct, scale=how.scale)
            chosen.add(candidates.facts, candidates.distances, known_at)
            enough = count
            if how.is_distinct and len(chosen.at) < count and histories is not None:
                # No more can be apart in time: stop once that many are found.
                enough = min(wanted, _most(asked, histories, how.horizon))
                chosen.keep_first(enough)
            hits = len(answer.hits if answer.places is None else answer.places)
            is_enough = len(chosen.at) >= enough or hits < asked.top_k
            if is_enough or asked.top_k >= MAX_CANDIDATES:
                break
            asked = _wider(asked, how.horizon, chosen.found < hits / 2)
            answer = await recall.recall(asked)
        names, overlapping = candidates.names(chosen.at), chosen.found - len(chosen.at)
        return Evidence(chosen.neighbours, names, chosen.found, overlapping, answer)

    def _sums(self, question: EpisodicQuestion, answer: Answer) -> bool:
        """Return whether what was found is chosen and summed up by a compiled function."""
        is_near = answer.served_by == SERVED_BY and question.filter is EVERY_EXPERIENCE
        return is_near and question.scope == "own" and self._compiled.is_ready()

    def _summed(
        self,
        own: History,
        answer: Answer,
        count: int,
        how: "_How",
        summing: Summing,
        *,
        is_last: bool = False,
    ) -> Evidence | None:
        """Return the evidence with its summary.

        None if the history lacks one of those found, or if too few of them count and they are not
        the last ones to examine.
        """
        places = answer.places
        assert places is not None
        if not count or not len(places):
            return None
        chosen = self._compiled.chosen(
            own,
            places.seqs,
            places.distances,
            count=count,
            is_distinct=how.is_distinct,
            scale=how.scale,
            summing=summing,
        )
        if chosen is None or not (is_last or len(chosen.rows) == count):
            return None
        facts, agent_id = own.facts(None), places.agents[0]
        names = [(agent_id, facts[row].id) for row in chosen.rows]
        overlapping = chosen.found - len(names)
        return Evidence([], names, chosen.found, overlapping, answer, chosen.summary)

    async def _foreseen(
        self,
        question: EpisodicQuestion,
        ask: int,
        histories: Mapping[str, History],
        how: "_How",
        summing: Summing | None,
    ) -> Evidence | None:
        """Return the evidence after asking the engine about the memories that count alone.

        `ask`: among how many they are. None if it is not certain which they are.
        """
        agent_id, filtered = question.agent_id, question.filter
        own = histories.get(agent_id)
        is_joint = question.scope != "own" or (
            filtered.regime and question.regime_policy != "strict"
        )
        is_limited = question.metric is not None or question.max_distance is not None
        if own is None or is_joint or is_limited or own.retirements(None):
            return None
        kept = await self._pasts.sure(agent_id, own)
        if kept is None:
            return None
        among = compared(kept, own, filtered)
        rows, distances = roughly_nearest(kept, among, question.vector, ask)
        known_at = _LAST_MOMENT if filtered.as_of is None else filtered.as_of
        facts = own.facts(how.horizon)
        at, found = foreseen(
            map(facts.__getitem__, rows),
            distances,
            known_at=known_at,
            count=min(question.top_k, _most(question, histories, how.horizon)),
            is_whole=len(rows) < ask,
        )
        if not at:
            return None
        only = tuple([facts[rows[i]].id for i in at])
        asked = replace(question, top_k=len(at), places_only=True, only=only)
        answer = await self._recall.recall(asked)
        if summing is not None and self._sums(question, answer):
            summed = self._summed(own, answer, len(at), how, summing)
            if summed is not None:
                return replace(summed, found=found, overlapping=found - len(at))
        told = _Chosen(len(at), is_distinct=False, scale=how.scale)
        candidates = await self._looked_up(answer, histories, how.horizon, None)
        told.add(candidates.facts, candidates.distances, known_at)
        if len(told.at) < len(at):  # some were deleted meanwhile
            return None
        names = candidates.names(told.at)
        return Evidence(told.neighbours, names, found, found - len(names), answer)

    def _reach_of(self, question: EpisodicQuestion, *, of_past: bool) -> Reach:
        """Return how far such questions have to reach."""
        key = (question.agent_id, question.scope, question.top_k, of_past)
        reach = self._reach.get(key)
        if reach is None:
            reach = self._reach[key] = Reach()
            if len(self._reach) > REACHES_KEPT:
                self._reach.popitem(last=False)
        else:
            self._reach.move_to_end(key)
        return reach

    async def _looked_up(
        self,
        answer: Answer,
        histories: Mapping[str, History] | None,
        horizon: str | None,
        besides: Memory | None,
    ) -> "_Candidates":
        """Return the memories found, with their facts."""
        if histories is None:
            return _of_hits(answer.hits, horizon)
        assert answer.places is not None
        places = answer.places if besides is None else answer.places.without(*besides)
        facts, missing = _facts(places, histories, horizon)
        if missing:  # stored since the histories were read
            names = sorted(missing | set(histories))
            again = await self._histories.of(names, is_fresh=True)
            if again is not None:
                facts, _ = _facts(places, again, horizon)
        return _Candidates(facts, places.distances, places.agents, places.which)


class _How(NamedTuple):
    """How a question chooses its evidence."""

    horizon: str | None
    is_distinct: bool
    scale: float | None


class _Candidates(NamedTuple):
    """Memories, nearest first. None for one without an outcome; `which` are places in `agents`."""

    facts: Sequence[Fact | None]
    distances: Sequence[float]
    agents: Sequence[str]
    which: Sequence[int]

    def names(self, at: Sequence[int]) -> list[Name]:
        """Return the agents and ids of those at these positions."""
        found = [(self.facts[i], self.agents[self.which[i]]) for i in at]
        return [(agent_id, fact.id) for fact, agent_id in found if fact is not None]


class _Chosen:
    """The memories that count, nearest first, in units of a question's scale, and at which
    positions of the candidates they are.

    `found`: how many of those that were known were examined.
    """

    def __init__(self, wanted: int, *, is_distinct: bool, scale: float | None) -> None:
        self.neighbours: list[Neighbour] = []
        self.at: list[int] = []
        self.found = 0
        self._wanted = wanted
        self._apart = Apart() if is_distinct else None
        self._scale = scale
        self._found_at: list[int] = []

    def add(
        self, facts: Sequence[Fact | None], distances: Sequence[float], known_at: float
    ) -> None:
        """Examine memories, nearest first, until enough count."""
        neighbours, at, found_at = self.neighbours, self.at, self._found_at
        apart, scale, found = self._apart, self._scale, self.found
        for i, (fact, distance) in enumerate(zip(facts, distances, strict=True)):
            if fact is None or fact.end > known_at:
                continue
            found += 1
            if apart is not None and not apart.add(fact.product, fact.interval):
                continue
            reward = fact.reward
            if scale is not None and not math.isnan(fact.scale):
                reward = clamped(reward / fact.scale * scale)
            neighbours.append(Neighbour(fact.action, reward, distance, fact.product, fact.interval))
            at.append(i)
            found_at.append(found)
            if len(at) == self._wanted:
                break
        self.found = found

    def keep_first(self, count: int) -> None:
        """Drop all but the first `count`, and what was examined after them."""
        if 0 < count <= len(self.at):
            self.found = self._found_at[count - 1]
            del self.neighbours[count:], self.at[count:], self._found_at[count:]


def _most_of(
    reach: Reach, question: EpisodicQuestion, histories: Mapping[str, History], horizon: str | None
) -> int:
    """Return the same as `_most`, kept for plain questions until a memory changes."""
    if question.filter is not EVERY_EXPERIENCE or question.scope != "own":
        return _most(question, histories, horizon)
    own = histories[question.agent_id]
    state = own.number, own.version, horizon
    return reach.most(state, lambda: _most(question, histories, horizon))


def _most(question: EpisodicQuestion, histories: Mapping[str, History], horizon: str | None) -> int:
    """Return the largest number of memories in question that can be apart in time."""
    wanted = timeless_filter(question.filter)
    if wanted.regime and question.regime_policy != "strict":
        wanted = replace(wanted, regime=())
    pool = [
        history
        for name, history in histories.items()
        if question.scope != "others" or name != question.agent_id
    ]
    return most_apart(pool, wanted, horizon, question.filter.as_of)


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


def _facts(
    places: Places, histories: Mapping[str, History], horizon: str | None
) -> tuple[list[Fact | None], set[str]]:
    """Return the facts of memories, and the agents whose histories lack one."""
    missing: set[str] = set()
    if len(places.agents) == 1:
        found = _facts_of(places.agents[0], histories, horizon, places.seqs, missing)
        return found, missing
    facts: list[Fact | None] = [None] * len(places)
    for number, agent_id in enumerate(places.agents):
        at = [i for i, which in enumerate(places.which) if which == number]
        own = _facts_of(agent_id, histories, horizon, [places.seqs[i] for i in at], missing)
        for i, fact in zip(at, own, strict=True):
            facts[i] = fact
    return facts, missing


def _facts_of(
    agent_id: str,
    histories: Mapping[str, History],
    horizon: str | None,
    seqs: Sequence[int],
    missing: set[str],
) -> list[Fact | None]:
    history = histories.get(agent_id)
    if history is None:
        missing.add(agent_id)
        return [None] * len(seqs)
    rows = history.places_of(seqs)
    facts = history.facts(horizon)
    if ABSENT in rows:
        missing.add(agent_id)
        return [None if row == ABSENT else facts[row] for row in rows]
    return [facts[row] for row in rows]


def _of_hits(hits: Sequence[Hit], horizon: str | None) -> _Candidates:
    """Return whole records as candidates."""
    records = [orjson.loads(hit.record) for hit in hits]
    return _Candidates(
        [_fact(record, horizon) for record in records],
        [hit.distance for hit in hits],
        [record["agent_id"] for record in records],
        range(len(records)),
    )


def _fact(record: Mapping[str, Any], horizon: str | None) -> Fact | None:
    outcome = _outcome(record, horizon)
    if outcome["reward"] is None:
        return None
    return Fact(
        id=record["id"],
        product=record["product_id"],
        action=record["action"],
        reward=outcome["reward"],
        end=outcome["outcome_at"],
        scale=record.get("scale") or math.nan,
        interval=_interval_of(record, outcome),
    )


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
