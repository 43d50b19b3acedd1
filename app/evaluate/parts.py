"""What evaluates memories and learns distances, put together once for a process."""

import time
from dataclasses import dataclass

from app.auth.audit import Audit
from app.auth.limits import AgentAdmission
from app.contract.distances import DistanceFit
from app.contract.evaluation import Evaluation
from app.evaluate.distances.operations import DistanceLearner, DistanceOperations
from app.evaluate.job import EvaluateOperations, Evaluator
from app.evaluate.kept import KeptJobs
from app.evaluate.questions import NeighbourSearch
from app.evaluate.turns import Turns
from app.memory.distances.lookup import Metrics
from app.memory.distances.store import DistanceStore
from app.memory.estimates.parts import Estimating
from app.nodes.reads import ReadRouter


@dataclass(frozen=True, slots=True)
class Evaluating:
    """The parts. `turns` is to be closed."""

    metrics: Metrics
    evaluate: EvaluateOperations
    distances: DistanceOperations
    turns: Turns


def evaluating_parts(
    estimating: Estimating,
    reads: ReadRouter,
    *,
    dimension: int,
    shared_max_age_days: float,
    admit: AgentAdmission,
    audit: Audit,
) -> Evaluating:
    """Return the parts."""
    histories, shards, turns = estimating.histories, reads.shards, Turns()
    store = DistanceStore(reads)
    metrics = Metrics(store)
    neighbours = NeighbourSearch(
        estimating.evidence, estimating.reader, shared_max_age_days=shared_max_age_days
    )
    evaluate = EvaluateOperations(
        Evaluator(histories, estimating.reader, neighbours, metrics),
        KeptJobs(shards, "evaluation", Evaluation),
        turns,
        now=time.time,
        admit=admit,
    )
    distances = DistanceOperations(
        DistanceLearner(histories, estimating.reader, store),
        store,
        KeptJobs(shards, "fit", DistanceFit),
        turns,
        evaluate,
        dimension=dimension,
        now=time.time,
        admit=admit,
        audit=audit,
    )
    return Evaluating(metrics, evaluate, distances, turns)
