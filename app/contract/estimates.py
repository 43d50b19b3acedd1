"""The public JSON contract of estimates and of how far they held."""

from typing import Literal

from pydantic import BaseModel, Field

from app.contract.answers import SearchAnswer


class ActionBaseline(BaseModel):
    """What all memories of the same filter say of an action, whatever state they were in."""

    value: float = Field(description="Mean reward.")
    stdev: float | None = Field(description="Their standard deviation; null for a single memory.")
    loss_probability: float = Field(description="Share of rewards below minus `stop_loss`.")
    q05: float = Field(description="The smallest reward up to which 5 % of all lie.")
    q95: float = Field(description="The smallest reward up to which 95 % of all lie.")
    n: int = Field(description="Memories.")


class OutcomeInterval(BaseModel):
    """Where the outcome will lie with a chance of `level`, as far as the past tells."""

    level: float = Field(description="The share of outcomes that it is to hold.")
    low: float = Field(description="Its lower end.")
    high: float = Field(description="Its upper end.")
    method: Literal["cqr", "quantile"] = Field(
        description="cqr: q05 and q95, moved by how far past outcomes lay outside theirs. "
        "quantile: q05 and q95 as they are, since too few past estimates are known."
    )
    n: int = Field(description="Past estimates that corrected it.")
    coverage: float | None = Field(
        description="The share of these that their intervals, so corrected, would have held."
    )


class ActionEstimate(BaseModel):
    """The outcomes of one action in the memories found. Statistics are weighted by the kernel."""

    action: str | None
    count: int
    value: float = Field(description="Mean reward.")
    stdev: float | None = Field(
        description="Standard deviation of the rewards, unbiased; null for a single memory."
    )
    q05: float
    q50: float
    q95: float
    win_rate: float = Field(description="Share of rewards above 0.")
    loss_probability: float = Field(description="Share of rewards below minus `stop_loss`.")
    effective_n: float = Field(
        description="(sum w)^2 / sum w^2; equals `count` if all weights are equal."
    )
    independent_n: float = Field(
        description="As many memories with nothing in common would tell as much: less than "
        "`effective_n` where their outcomes overlap in time."
    )
    standard_error: float | None = Field(
        description="stdev / sqrt(independent_n): how far `value` may be off by chance."
    )
    value_low: float | None = Field(
        description="With a chance of 95 % the true mean is above this (Student's t); null where "
        "too little is known to say."
    )
    value_high: float | None = Field(
        description="With a chance of 95 % the true mean is below this."
    )
    nearest_distance: float
    baseline: ActionBaseline | None = Field(
        description="What all memories say, similar or not: what `value` has to beat."
    )
    shrunk_value: float | None = Field(
        description="`value`, drawn towards the baseline's as far as the agent's own past says; "
        "null until enough of it is known."
    )
    shrunk_loss_probability: float | None = Field(
        description="`loss_probability`, drawn towards the baseline's in the same way."
    )
    shrinkage: float | None = Field(
        description="How far, 0 to 1. Near 1: similar moments say no more than all moments."
    )
    interval: OutcomeInterval


class EpisodicEstimated(SearchAnswer):
    """What to expect of each action, the best first by `rank_by`."""

    actions: list[ActionEstimate]
    novelty: float | None = Field(
        description="How unusual the state is, 0 to 1: the share of known states that had, at "
        "their own time, a nearer neighbour than this one has. Of ordinary states, 5 % are above "
        "0.95. Null where the agents hold more than MEMORY_ESTIMATE_HISTORY_MEMORIES."
    )
    confidence: float | None = Field(
        description="(1 - novelty) * n / (n + 10), n the effective_n of all. Null as novelty is."
    )
    found: int = Field(description="Closed memories that were gone through, nearest first.")
    distinct: int = Field(description="Those that count: `count`.")
    overlapping: int = Field(
        description="Those left out because a nearer one of their product shares their time."
    )
    memories: list[str] = Field(description="Ids of the memories that this is made of.")


class CalibrationFigure(BaseModel):
    """A figure, and where it lies with a chance of 95 % (stationary block bootstrap).

    All null if too little is known."""

    value: float | None
    low: float | None
    high: float | None


class ReliabilityBin(BaseModel):
    """Past estimates with about the same chance of a loss."""

    predicted: float = Field(description="The mean chance that they stated.")
    observed: float = Field(description="The share that did lose.")
    count: int


class CalibrationSkill(BaseModel):
    """Against the baseline: above 0, similar moments told more than all moments."""

    brier: CalibrationFigure = Field(description="Of the chance of a loss: 1 - Brier ratio.")
    mse: CalibrationFigure = Field(description="Of the value: 1 - ratio of squared errors.")


class CalibrationReport(BaseModel):
    """How far an agent's estimates held what they said."""

    agent_id: str
    as_of: float | None
    n: int = Field(description="Past estimates whose outcome was known. No two overlap in time.")
    level: float = Field(description="The share of outcomes that intervals are to hold.")
    coverage: CalibrationFigure = Field(description="The share that they did hold.")
    ece: CalibrationFigure = Field(
        description="Expected calibration error: the mean gap between the stated chance of a loss "
        "and the share that lost, in 10 bins of equal count."
    )
    slope: CalibrationFigure = Field(
        description="Of losses on their stated chance: 1 is right, near 0 says nothing."
    )
    reliability: list[ReliabilityBin] = Field(description="The same bins, smallest chance first.")
    skill: CalibrationSkill
