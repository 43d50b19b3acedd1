"""Whether the memory helps: evaluations of its past, and what it adds to decisions."""

from typing import Literal, TypeAlias

import msgspec

from coinswarm_memory.answers.jobs import AskedJob

Arm: TypeAlias = Literal["memory", "no_memory", "placebo"]
VerdictName: TypeAlias = Literal["helps", "harms", "unproven"]


class EvaluationFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One statistic, with the memory and with its placebos. Higher is better."""

    statistic: str
    value: float
    placebo: float
    effect: float
    low: float
    high: float
    detectable: float
    p_helps: float
    p_harms: float
    holm_helps: float
    holm_harms: float
    placebos: list[float] = []


class EvaluationGain(msgspec.Struct, frozen=True, kw_only=True):
    """By how much a learned distance is better than the cosine distance, and its 95 % interval."""

    value: float
    low: float
    high: float


class EvaluationResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an evaluation found. `statistic` decided the verdict.

    `metric` is the learned distance that was searched by, and `gain` what it adds. Questions are
    from `since` on. `partial`: some of what was known before `whole_since` was purged.
    """

    verdict: VerdictName
    metric: str | None = None
    gain: EvaluationGain | None = None
    since: float | None = None
    statistic: str
    memories: int
    eligible: int
    asked: int
    questions: int
    findings: list[EvaluationFinding]
    partial: bool = False
    whole_since: float | None = None


class Evaluation(AskedJob, frozen=True, kw_only=True):
    """An evaluation: its progress, and its result once it is done."""

    result: EvaluationResult | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that is open. It does not count if another one for the same state does."""

    recall_id: str
    agent_id: str
    arm: Arm
    action: str
    created: bool
    counts: bool


class DecisionClosed(msgspec.Struct, frozen=True, kw_only=True):
    """A decision whose outcome is known. `changed` is False if it was known before."""

    recall_id: str
    agent_id: str
    changed: bool


class ArmFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The closed decisions of one arm, and how many its share would give."""

    arm: Arm
    closed: int
    expected: float
    mean_reward: float | None = None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The memory against another arm. The interval is valid at all times at once."""

    against: Arm
    decisions: int
    uplift: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: VerdictName


class UpliftFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The decisions of one slice: `name` is its product or regime, or `agent_id` its agent."""

    arms: list[ArmFigures]
    comparisons: list[Comparison]
    name: str | None = None
    agent_id: str | None = None

    def against(self, arm: Literal["no_memory", "placebo"]) -> Comparison:
        """Return the comparison with this arm."""
        return next(one for one in self.comparisons if one.against == arm)


class Uplift(UpliftFigures, frozen=True, kw_only=True):
    """What the memory adds to an agent's decisions: as a whole, by product and by regime."""

    level: float
    method: str
    products: list[UpliftFigures]
    regimes: list[UpliftFigures]
