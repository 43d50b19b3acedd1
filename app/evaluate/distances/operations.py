"""Learning distances as jobs, and letting the swarm go by one that is proven."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from uuid import uuid4

import numpy as np
import orjson

from app.auth import caller
from app.auth.audit import Audit
from app.auth.limits import AgentAdmission
from app.contract.distances import (
    MAX_TOLD,
    Distance,
    DistanceFeature,
    DistanceFit,
    LearnDistance,
    WholeDistance,
)
from app.contract.evaluation import Evaluation
from app.errors import InvalidInput, MetricNotFound, PromotionRefused
from app.evaluate.distances.fit import FEWEST_ROWS, Fitted, Lived, fit
from app.evaluate.job import EvaluateOperations
from app.evaluate.kept import KeptJobs
from app.evaluate.questions import REST, rest
from app.evaluate.turns import JobRunner, Turns, progress_of
from app.memory.distances.lookup import owner_of
from app.memory.distances.store import MAX_DISTANCES, DistanceStore
from app.memory.estimates.kept_histories import KeptHistories
from app.memory.estimates.magnitude import per_scale
from app.memory.estimates.matured import ANY_ACTION, matured
from app.memory.questions import checked
from app.model import EpisodicFilter, horizon_name
from app.storage.histories import HistoryReader
from app.vectors import to_array

MAX_ROWS = 5000
"""The latest ones teach."""

READ_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class _Learned:
    """What was found, and of which memory: `born` tells it from a former one of that name.

    `whole_since` (unix seconds): some of what was known before then was purged.
    """

    fitted: Fitted
    rows: int
    born: str
    whole_since: float | None


class DistanceLearner:
    """Learns from one agent's memories."""

    def __init__(
        self, histories: KeptHistories, reader: HistoryReader, store: DistanceStore
    ) -> None:
        self._histories = histories
        self._reader = reader
        self._store = store

    async def learn(
        self, request: LearnDistance, known_at: float, on_progress: Callable[[int, int], None]
    ) -> _Learned:
        """Return what the outcomes known at a moment say. Raise InvalidInput, StorageError."""
        agent_id = request.agent_id
        born = await self._store.born(agent_id)
        history = (await self._histories.whole(agent_id))[agent_id]
        wanted = EpisodicFilter(
            product_id=tuple(request.product_id or ()),
            regime=tuple(request.regime or ()),
            since=request.since,
            until=request.until,
        )
        horizon = None if request.horizon is None else horizon_name(request.horizon)
        action: object = ANY_ACTION if request.action is None else request.action
        chosen = matured(history, wanted, horizon, action, is_scaled=False, as_of=known_at)
        count = chosen.count_apart(known_at)
        rows = chosen.apart(max(0, count - MAX_ROWS), count)
        reward = history.outcomes(horizon).reward[rows].copy()
        if request.scaled:
            reward = per_scale(reward, history.column("scale")[rows])
        start = history.column("start")[rows].copy()
        end = history.outcomes(horizon).end[rows].copy()
        seqs = history.seq[rows].tolist()
        names = [(history.id_of(row), seq) for row, seq in zip(rows.tolist(), seqs, strict=True)]
        states = await self._states(agent_id, names, on_progress)
        there = np.array([state is not None for state in states], np.bool_)
        if there.sum() < FEWEST_ROWS:
            raise InvalidInput(
                f"agent_id: {agent_id} has {there.sum()} closed memories of this kind that do not "
                f"overlap; learning takes {FEWEST_ROWS}.",
                field="agent_id",
            )
        table = np.stack([to_array(state) for state in states if state is not None])
        lived = Lived(table, reward[there], start[there], end[there])
        fitted = await asyncio.to_thread(fit, lived)
        whole_since = await self._reader.whole_since(agent_id, known_at)
        return _Learned(fitted, int(there.sum()), born, whole_since)

    async def _states(
        self,
        agent_id: str,
        names: Sequence[tuple[str, int]],
        on_progress: Callable[[int, int], None],
    ) -> list[bytes | None]:
        found: list[bytes | None] = []
        for first in range(0, len(names), READ_AT_ONCE):
            began = perf_counter()
            found += await self._reader.vectors(agent_id, names[first : first + READ_AT_ONCE])
            on_progress(len(found), len(names))
            await rest(began, REST)
        return found


class DistanceOperations:
    """Learns, lists, promotes and deletes distances. `now` gives unix seconds."""

    def __init__(
        self,
        learner: DistanceLearner,
        store: DistanceStore,
        kept: KeptJobs[DistanceFit],
        turns: Turns,
        evaluations: EvaluateOperations,
        *,
        dimension: int,
        now: Callable[[], float],
        admit: AgentAdmission,
        audit: Audit,
    ) -> None:
        self._learner = learner
        self._store = store
        self._kept = kept
        self._runner = JobRunner(turns, kept)
        self._evaluations = evaluations
        self._dimension = dimension
        self._now = now
        self._admit = admit
        self._audit = audit

    async def start(self, request: LearnDistance) -> DistanceFit:
        """Start to learn, and return the job as it begins.

        Raise AgentForbidden, InvalidInput, RateLimited, Overloaded, StorageError.
        """
        await self._admit(request.agent_id)
        moment = checked(request.as_of)
        if request.names is not None and len(request.names) != self._dimension:
            raise InvalidInput(
                f"names: must name {self._dimension} numbers, got {len(request.names)}.",
                field="names",
            )
        if len(await self._store.all_of(request.agent_id)) >= MAX_DISTANCES:
            raise _too_many(request.agent_id)
        created_at = self._now()
        known_at = created_at if moment is None else min(moment, created_at)
        job = DistanceFit(
            id=f"{request.agent_id}:{uuid4().hex[:12]}",
            agent_id=request.agent_id,
            status="queued",
            done=0,
            total=0,
            created_at=created_at,
            request=request.model_dump(exclude={"names"}),
        )

        async def work(state: DistanceFit) -> None:
            learned = await self._learner.learn(request, known_at, progress_of(state))
            state.memories, state.explained = learned.rows, learned.fitted.explained
            if learned.fitted.weights is not None:
                await self._keep(state, _record(state, known_at, learned, request.names))

        await self._runner.start(job, work)
        return job

    async def find(self, name: str, as_of: float | None) -> DistanceFit:
        """Return a distance, or how far it is, which by this stays wanted.

        Raise InvalidInput, MetricNotFound, StorageError.
        """
        moment = checked(as_of)
        record = await self._record(name)
        job = None if record is not None else await self._kept.find(name)
        if record is None and job is None:  # it may have been done just now
            record = await self._record(name)
        if record is not None:
            if moment is not None and record["known_at"] > moment:
                raise _unknown(name)
            return await self._told(record)
        if job is None:
            raise _unknown(name)
        if moment is not None and job.status == "done":
            asked = job.request["as_of"]
            if asked is None or asked > moment:
                raise _unknown(name)
        await self._kept.want(job)
        return job

    async def all_of(self, agent_id: str, as_of: float | None) -> list[Distance]:
        """Return an agent's distances that were known, the latest first.

        Raise AgentForbidden, InvalidInput, RateLimited, StorageError.
        """
        await self._admit(agent_id)
        moment = checked(as_of)
        records = [orjson.loads(raw) for raw in await self._store.all_of(agent_id)]
        stands = await self._standing()
        return [
            Distance.model_validate({**record["told"], "promoted": record["id"] == stands})
            for record in sorted(records, key=lambda record: -float(record["created_at"]))
            if moment is None or record["known_at"] <= moment
        ]

    async def delete(self, name: str) -> None:
        """Forget a distance, or cancel its learning. Raise MetricNotFound, StorageError."""
        record = await self._record(name)
        if record is None:
            if await self._kept.find(name) is None:
                raise _unknown(name)
            await self._kept.delete(name)
            return
        async with self._audit.action("delete_distance", distance=name):
            promotion = await self._store.promoted(None)
            await self._store.delete(record["agent_id"], name)
            if promotion is not None and promotion.distance == name:
                await self._store.promote(self._now(), None, None)

    async def promote(self, name: str, evaluation_id: str) -> float:
        """Have the swarm go by a distance from now on, and return when that is.

        Raise AgentForbidden, MetricNotFound, MemoryNotFound, PromotionRefused, StorageError.
        """
        caller.require_all_agents()
        record = await self._record(name)
        if record is None:
            raise _unknown(name)
        _require_proof(name, record, await self._evaluations.own(evaluation_id))
        at = self._now()
        async with self._audit.action("promote_distance", distance=name, evaluation=evaluation_id):
            await self._store.promote(at, record["agent_id"], name)
        return at

    async def demote(self, name: str) -> float:
        """Have the swarm go by the cosine distance again. Return when from.

        Raise AgentForbidden, MetricNotFound if it does not go by this one, StorageError.
        """
        caller.require_all_agents()
        if await self._standing() != name:
            raise MetricNotFound(f"The swarm does not go by {name}: nothing is to be taken back.")
        at = self._now()
        async with self._audit.action("demote_distance", distance=name):
            await self._store.promote(at, None, None)
        return at

    async def _keep(self, state: DistanceFit, record: dict[str, Any]) -> None:
        kept = await self._store.keep(state.agent_id, state.id, record)
        if kept < 0:
            raise _too_many(state.agent_id)
        if kept == 0:
            raise _unknown(state.id)
        # From here on it stands with its agent; deleting the job ends its reports of progress.
        await self._kept.delete(state.id)

    async def _record(self, name: str) -> dict[str, Any] | None:
        if not caller.caller.get().may_touch(owner_of(name)):
            raise _unknown(name)
        raw = await self._store.find(owner_of(name), name)
        if raw is None:
            return None
        found: dict[str, Any] = orjson.loads(raw)
        return found

    async def _standing(self) -> str | None:
        promotion = await self._store.promoted(None)
        return None if promotion is None else promotion.distance

    async def _told(self, record: dict[str, Any]) -> DistanceFit:
        is_promoted = await self._standing() == record["id"]
        whole = WholeDistance.model_validate(
            {
                **record["told"],
                "weights": record["weights"],
                "spread": record["spread"],
                "promoted": is_promoted,
            }
        )
        return DistanceFit(
            id=whole.id,
            agent_id=whole.agent_id,
            status="done",
            done=whole.memories,
            total=whole.memories,
            created_at=whole.created_at,
            request=record["request"],
            memories=whole.memories,
            explained=whole.explained,
            distance=whole,
        )


def _record(
    state: DistanceFit, known_at: float, learned: _Learned, names: Sequence[str] | None
) -> dict[str, Any]:
    """Return what is stored of a distance."""
    fitted = learned.fitted
    assert fitted.weights is not None
    matter = np.flatnonzero((fitted.linear != 0) | (fitted.squared != 0))
    heaviest = matter[np.argsort(-fitted.weights[matter], kind="stable")][:MAX_TOLD]
    features = [
        DistanceFeature(
            index=i,
            name=None if names is None else names[i],
            weight=float(fitted.weights[i]),
            linear=float(fitted.linear[i]),
            squared=float(fitted.squared[i]),
        )
        for i in heaviest.tolist()
    ]
    told = Distance(
        id=state.id,
        agent_id=state.agent_id,
        created_at=state.created_at,
        known_at=known_at,
        memories=learned.rows,
        explained=fitted.explained,
        mattering=fitted.mattering,
        features=features,
        promoted=False,
        whole_since=learned.whole_since,
    )
    square = np.where(fitted.spread > 0, fitted.spread, 1.0) ** 2
    return {
        "id": state.id,
        "agent_id": state.agent_id,
        "born": learned.born,
        "created_at": state.created_at,
        "known_at": known_at,
        "request": state.request,
        "told": told.model_dump(),
        "weights": fitted.weights.tolist(),
        "spread": fitted.spread.tolist(),
        "scaled_weights": (fitted.weights / square / 2.0).tolist(),
    }


def _require_proof(name: str, record: dict[str, Any], evaluation: Evaluation) -> None:
    result = evaluation.result
    if result is None:
        raise PromotionRefused(
            f"evaluation_id: {evaluation.id} is {evaluation.status}, not done: wait for it."
        )
    if result.metric != name:
        raise PromotionRefused(
            f"evaluation_id: {evaluation.id} is not of {name}: evaluate with that metric."
        )
    if result.since is None or result.since < record["known_at"]:
        raise PromotionRefused(
            f"evaluation_id: {evaluation.id} asked what {name} was learned from: evaluate later "
            "data."
        )
    if result.verdict != "helps":
        raise PromotionRefused(
            f"evaluation_id: {evaluation.id} says {result.verdict}, not helps: promote nothing."
        )
    if result.gain is None or result.gain.value <= 0:
        raise PromotionRefused(
            f"evaluation_id: {evaluation.id} says that the cosine distance does as well as {name}: "
            "promote nothing."
        )


def _too_many(agent_id: str) -> InvalidInput:
    return InvalidInput(
        f"agent_id: {agent_id} has {MAX_DISTANCES} distances: delete one first.", field="agent_id"
    )


def _unknown(name: str) -> MetricNotFound:
    return MetricNotFound(f"There is no distance {name}: learn one, or name another.")
