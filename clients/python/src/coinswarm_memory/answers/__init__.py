"""What the service answers, typed. Fields that a newer service adds are ignored."""

from coinswarm_memory.answers.concepts import Concept, ConceptAnswer, ConceptHit
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

__all__ = [
    "ActionEstimate",
    "Actions",
    "AgentSummary",
    "Baseline",
    "BulkReport",
    "Calibration",
    "Closed",
    "Concept",
    "ConceptAnswer",
    "ConceptHit",
    "Deleted",
    "Estimate",
    "Experience",
    "Hit",
    "HorizonOutcome",
    "Identity",
    "Interval",
    "Progress",
    "Recall",
    "Refused",
    "Stored",
]
