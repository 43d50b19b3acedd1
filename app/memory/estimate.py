"""Estimates what to expect of each action in a state."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from app.auth import caller
from app.auth.limits import AgentAdmission
from app.contract.requests import EpisodicEstimate
from app.decisions.arms import Arms
from app.memory.distances.lookup import Metrics
from app.memory.estimates.action_values import ActionValue, confidence
from app.memory.estimates.history import History
from app.memory.estimates.inquiry import Inquiry, Terms, inquiry
from app.memory.estimates.interval import uncorrected
from app.memory.estimates.judgement import Judge, Judgement, Standards, judgement
from app.memory.estimates.kept_histories import KeptHistories
from app.memory.estimates.kernel import Kernel
from app.memory.estimates.summary import Summary, Summing
from app.memory.evidence import Evidence, EvidenceSearch
from app.memory.novelty import Distances, Novelty
from app.memory.questions import checked, episodic_question
from app.metrics import measuring
from app.model import EVERY_EXPERIENCE, NOT_ASKED, Answer, EpisodicQuestion, horizon_name
from app.vectors import VectorFormat, require_fit

KNOWN_KEPT = 1024
"""Questions about the present whose distances and standards are kept, about 4 KB each."""

_Known = tuple[Distances, Standards]
"""What does not depend on a question's neighbours."""


@dataclass(slots=True)
class Estimate:
    """What to expect of each action, and the evidence for it. Never modified.

    `novelty` and `confidence` are None if the agents in question hold more memories than the
    service keeps histories for.
    """

    actions: Sequence[tuple[ActionValue, Judgement]]
    novelty: float | None
    confidence: float | None
    evidence: Evidence

    @property
    def answer(self) -> Answer:
        """Return the answer of the underlying search."""
        return self.evidence.answer


class EstimateOperations:
    """Makes estimates from searches. `now` returns unix seconds."""

    def __init__(
        self,
        *,
        evidence: EvidenceSearch,
        histories: KeptHistories,
        novelty: Novelty,
        judge: Judge,
        stored_as: VectorFormat,
        shared_max_age_days: float,
        now: Callable[[], float],
        admit: AgentAdmission,
        arms: Arms,
        metrics: Metrics,
    ) -> None:
        self._admit = admit
        self._metrics = metrics
        self._arms = arms
        self._evidence = evidence
        self._histories = histories
        self._novelty = novelty
        self._judge = judge
        self._stored_as = stored_as
        self._shared_max_age_days = shared_max_age_days
        self._now = now
        self._known_now: OrderedDict[Hashable, tuple[object, _Known]] = OrderedDict()

    async def estimate(self, request: EpisodicEstimate) -> Estimate:
        """Return the outcomes of each action among the nearest closed memories.

        Raise InvalidInput, AgentForbidden, ScopeForbidden, StorageError, Overloaded.
        """
        await self._admit(request.agent_id)
        caller.require_scope(request.scope)
        caller.require_top_k(request.top_k)
        require_fit(request.state_vector, self._stored_as, "state_vector")
        if not request.recall:
            return await self._estimated(request)
        as_of = checked(request.as_of)
        given = await self._arms.assign(request.agent_id, request.state_vector, as_of)
        if given.state_vector is None:
            found = _unjudged([], Evidence([], [], 0, 0, NOT_ASKED))
        elif given.arm == "memory":
            found = await self._estimated(request)
        else:
            other = request.model_copy(update={"state_vector": given.state_vector})
            found = await self._estimated(other, nearer_is_same=self._stored_as.same_distance)
        answer = replace(found.answer, recall_id=given.recall_id, arm=given.arm)
        return replace(found, evidence=replace(found.evidence, answer=answer))

    async def _estimated(
        self, request: EpisodicEstimate, *, nearer_is_same: float | None = None
    ) -> Estimate:
        """Return what the memories say. Those nearer than `nearer_is_same` do not count."""
        terms = Terms(
            kernel=Kernel(request.kernel, delta=request.delta, bandwidth=request.bandwidth),
            stop_loss=request.stop_loss,
            is_distinct=request.distinct == "outcome",
            horizon=None if request.horizon is None else horizon_name(request.horizon),
            is_scaled=request.scale is not None,
        )
        with measuring("estimate", request.agent_id):
            question = episodic_question(
                request, shared_max_age_days=self._shared_max_age_days, now=self._now()
            )
            if request.metric is not None:
                question.metric = await self._metrics.of(
                    request.metric, question.filter.as_of, request.recorded_by
                )
            question.include_vectors = False
            histories = await self._histories.in_question(question)
            summing = Summing(terms.kernel, terms.stop_loss, request.rank_by, self._now())
            finding = self._evidence.find(
                question,
                histories,
                horizon=terms.horizon,
                is_distinct=terms.is_distinct,
                scale=request.scale,
                summing=summing if nearer_is_same is None else None,
            )
            if histories is None:
                evidence = _apart(await finding, nearer_is_same)
                return _unjudged(_summary(evidence, question, summing).actions, evidence)
            ask = partial(inquiry, question, terms, request.scale, histories)
            if question.filter.as_of is None:
                evidence = await finding
                known = await self._known_at_present(question, terms, request.scale, histories, ask)
            else:  # a moment needs more: it is made while Redis searches
                evidence, known = await asyncio.gather(finding, self._known_beside(ask()))
            evidence = _apart(evidence, nearer_is_same)
            summary = _summary(evidence, question, summing)
            return await self._judged(summary, evidence, known, request.scale, ask)

    async def _known_beside(self, asked: Inquiry) -> _Known:
        """Return what does not depend on the question's neighbours, after a search went out."""
        await asyncio.sleep(0)
        return await self._novelty.seen(asked), await self._judge.standards(asked)

    async def _known_at_present(
        self,
        question: EpisodicQuestion,
        terms: Terms,
        scale: float | None,
        histories: Mapping[str, History],
        ask: Callable[[], Inquiry],
    ) -> _Known:
        """Return the same for a question about the present: kept until a memory changes."""
        key = (
            question.agent_id,
            question.scope,
            None if question.filter is EVERY_EXPERIENCE else question.filter,  # hashed sooner
            question.regime_policy,
            question.top_k,
            question.exact,
            question.metric,
            terms,
        )
        state = scale, *[(own.number, own.version) for own in histories.values()]
        kept = self._known_now.get(key)
        if kept is not None and kept[0] == state:
            return kept[1]
        asked, before = ask(), (self._judge.deferred, self._novelty.unsettled)
        known = await self._novelty.seen(asked), await self._judge.standards(asked)
        if before == (self._judge.deferred, self._novelty.unsettled):
            self._known_now[key] = state, known
            while len(self._known_now) > KNOWN_KEPT:
                self._known_now.popitem(last=False)
        return known

    async def _judged(
        self,
        summary: Summary,
        evidence: Evidence,
        known: _Known,
        scale: float | None,
        ask: Callable[[], Inquiry],
    ) -> Estimate:
        (seen, standards), actions = known, summary.actions
        missing = [action.action for action in actions if action.action not in standards]
        if missing:
            standards = standards | await self._judge.standards(ask(), missing)
        novelty = self._novelty.of(seen, summary.nearest)
        return Estimate(
            actions=[(own, judgement(own, standards[own.action], scale)) for own in actions],
            novelty=novelty,
            confidence=confidence(summary.support, novelty=novelty),
            evidence=evidence,
        )


def _summary(evidence: Evidence, question: EpisodicQuestion, summing: Summing) -> Summary:
    """Return each action's statistics over its neighbours, and count future outcomes."""
    found = evidence.summary or summing.of(evidence.neighbours)
    if found.later and question.filter.as_of is None:
        evidence.answer = replace(evidence.answer, future_outcomes=found.later)
    return found


def _apart(evidence: Evidence, nearer_is_same: float | None) -> Evidence:
    """Return the evidence without what is no farther than this."""
    if nearer_is_same is None:
        return evidence
    pairs = zip(evidence.neighbours, evidence.names, strict=True)
    kept = [pair for pair in pairs if pair[0].distance > nearer_is_same]
    return replace(evidence, neighbours=[n for n, _ in kept], names=[name for _, name in kept])


def _unjudged(actions: Sequence[ActionValue], evidence: Evidence) -> Estimate:
    """Return the estimate without the past of the agents in question."""
    plain = [(a, Judgement(None, None, None, None, uncorrected(a.q05, a.q95))) for a in actions]
    return Estimate(plain, None, None, evidence)
