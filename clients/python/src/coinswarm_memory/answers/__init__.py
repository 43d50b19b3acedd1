"""What the service answers, typed. Fields that a newer service adds are ignored."""

from coinswarm_memory.answers.concepts import Concept, ConceptAnswer, ConceptHit
from coinswarm_memory.answers.distances import (
    Distance,
    DistanceFeature,
    DistanceFit,
    Promotion,
    WholeDistance,
)
from coinswarm_memory.answers.estimate import (
    ActionEstimate,
    Actions,
    Baseline,
    Calibration,
    Estimate,
    Interval,
)
from coinswarm_memory.answers.experiences import (
    Closed,
    Experience,
    Hit,
    HorizonOutcome,
    Recall,
)
from coinswarm_memory.answers.service import AgentSummary, Identity
from coinswarm_memory.answers.stored import BulkReport, Deleted, Progress, Refused, Stored
from coinswarm_memory.answers.verdicts import (
    ArmFigures,
    Comparison,
    Decision,
    DecisionClosed,
    Evaluation,
    EvaluationFinding,
    EvaluationGain,
    EvaluationResult,
    Uplift,
    UpliftFigures,
)

__all__ = [
    "ActionEstimate",
    "Actions",
    "AgentSummary",
    "ArmFigures",
    "Baseline",
    "BulkReport",
    "Calibration",
    "Closed",
    "Comparison",
    "Concept",
    "ConceptAnswer",
    "ConceptHit",
    "Decision",
    "DecisionClosed",
    "Deleted",
    "Distance",
    "DistanceFeature",
    "DistanceFit",
    "Estimate",
    "Evaluation",
    "EvaluationFinding",
    "EvaluationGain",
    "EvaluationResult",
    "Experience",
    "Hit",
    "HorizonOutcome",
    "Identity",
    "Interval",
    "Progress",
    "Promotion",
    "Recall",
    "Refused",
    "Stored",
    "Uplift",
    "UpliftFigures",
    "WholeDistance",
]
