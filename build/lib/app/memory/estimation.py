"""From a state to what can be expected of each action."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from app import access
from app.memory.estimate import (
    ActionEstimate,
    Kernel,
    Neighbour,
    confidence,
    estimate_actions,
)
from app.memory.novelty import Novelty
from app.memory.question import episodic_question
from app.memory.vector_fit import require_fit
from app.query_metrics import measuring
from app.rate_limit import AgentAdmission
from app.read_path.stage import Recall
from app.records import Answer, EpisodicQuestion
from app.schemas import EpisodicEstimate
from app.vectors import VectorFormat


@dataclass(frozen=True, slots=True)
class Estimate:
    """What to expect. `answer` is that of the search underneath; `memories` the ids it used."""

    actions: Sequence[ActionEstimate]
    novelty: float
    confidence: float
    memories: Sequence[str]
    answer: Answer


class EstimateOperations:
    """Estimates out of searches. `now` gives unix seconds."""

    def __init__(
        self,
        *,
        recall: Recall,
        novelty: Novelty,
        stored_as: VectorFormat,
        shared_max_age_days: float,
        now: Callable[[], float],
        admit: AgentAdmission,
    ) -> None:
        self._admit = admit
        self._recall = recall
        self._novelty = novelty
        self._stored_as = stored_as
        self._shared_max_age_days = shared_max_age_days
        self._now = now

    async def estimate(self, request: EpisodicEstimate) -> Estimate:
        """What came of each action among the nearest closed memories.

        Raises InvalidInput, AgentForbidden, ScopeForbidden, StorageError, Overloaded.
        """
        await self._admit(request.agent_id)
        access.require_scope(request.scope)
        access.require_top_k(request.top_k)
        require_fit(request.state_vector, self._stored_as, "state_vector")
        kernel = Kernel(request.kernel, delta=request.delta, bandwidth=request.bandwidth)
        with measuring("estimate", request.agent_id):
            question = episodic_question(
                request, shared_max_age_days=self._shared_max_age_days, now=self._now()
            )
            answer, records = await self._closed(replace(question, include_vectors=False))
            neighbours = [
                Neighbour(record["action"], record["reward"], hit.distance)
                for record, hit in zip(records, answer.hits, strict=True)
            ]
            nearest = min((n.distance for n in neighbours), default=None)
            novelty = await self._novelty.of(question, nearest)
            return Estimate(
                actions=estimate_actions(neighbours, kernel, stop_loss=request.stop_loss),
                novelty=novelty,
                confidence=confidence(neighbours, kernel, novelty=novelty),
                memories=[record["id"] for record in records],
                answer=answer,
            )

    async def _closed(self, question: EpisodicQuestion) -> tuple[Answer, list[dict[str, Any]]]:
        """The nearest memories that have a reward, and their records.

        Asked without that condition first, which doubles the search's time and is rarely needed.
        """
        answer = await self._recall.recall(question)
        records = [orjson.loads(hit.record) for hit in answer.hits]
        if any(record["reward"] is None for record in records):
            closed = replace(question, filter=replace(question.filter, closed=True))
            answer = await self._recall.recall(closed)
            records = [orjson.loads(hit.record) for hit in answer.hits]
        return answer, records
