"""The public JSON contract of estimates and of their calibration."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.contract.answers import RecallAnswer
from app.contract.fields import AgentId, AsOf, Horizon, PastAnswer, Request, Tag
from app.contract.requests import DISTINCT, MAX_TOP_K

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _number_or_name(text: object) -> object:
    """Return the number that a query parameter spells as JSON does, or the text, which is a name.

    `float` also takes `inf`, `1_0` and other scripts' digits.
    """
    return float(text) if isinstance(text, str) and _NUMBER.fullmatch(text) else text


class CalibrationRequest(Request):
    """Which estimates to look back on: whose, asked for in which way, and up to which moment."""

    model_config = ConfigDict(strict=False)  # query parameters are text

    agent_id: AgentId
    as_of: AsOf | None = None
    top_k: int = Field(50, ge=1, le=MAX_TOP_K, description="`top_k` of the estimates.")
    scope: Literal["own", "others", "all"] = Field("own", description="`scope` of the estimates.")
    distinct: Literal["outcome", "none"] = Field("outcome", description=DISTINCT)
    horizon: Annotated[Horizon, BeforeValidator(_number_or_name)] | None = Field(
        None, description=("The horizon of the outcomes; unset: the primary ones.")
    )
    action: Tag | None = Field(None, description="Unset: all actions together.")
    scaled: bool = Field(
        False,
        description=(
            "Whether the estimates are in units of each memory's `scale`, as if `scale` were given."
        ),
    )


class ActionBaseline(BaseModel):
    """Statistics of an action over all memories that match the filter, similar or not."""

    value: float = Field(description="Mean reward.")
    stdev: float | None = Field(description="Their standard deviation; null for a single memory.")
    loss_probability: float = Field(description="Share of rewards below minus `stop_loss`.")
    q05: float = Field(description="The 5 % quantile of the rewards.")
    q95: float = Field(description="The 95 % quantile of the rewards.")
    n: int = Field(description="Memories.")


class OutcomeInterval(BaseModel):
    """Where the next outcome will lie with probability `level`, judging by the past."""

    level: float = Field(description="The share of outcomes that it should contain.")
    low: float = Field(description="Its lower end.")
    high: float = Field(description="Its upper end.")
    method: Literal["cqr", "quantile"] = Field(
        description=(
            "cqr: q05 and q95, moved by how far past outcomes lay outside their own. "
            "quantile: q05 and q95 unchanged, because too few past estimates are known."
        )
    )
    n: int = Field(description="How many past estimates corrected it.")
    coverage: float | None = Field(
        description=(
            "The share of these whose interval, corrected in this way, contains the outcome."
        )
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
        description=(
            "How many independent memories would say as much: less than `effective_n` if "
            "outcomes overlap in time."
        )
    )
    standard_error: float | None = Field(
        description="stdev / sqrt(independent_n): how far `value` may be off by chance."
    )
    value_low: float | None = Field(
        description=(
            "With 95 % confidence, the true mean is above this (Student's t); null if too "
            "little is known."
        )
    )
    value_high: float | None = Field(
        description="With 95 % confidence, the true mean is below this."
    )
    nearest_distance: float
    baseline: ActionBaseline | None = Field(
        description="The statistics of all memories, similar or not: what `value` has to beat."
    )
    shrunk_value: float | None = Field(
        description=(
            "`value`, shrunk towards the baseline's by as much as the agent's past "
            "estimates call for; null until enough of them are known."
        )
    )
    shrunk_loss_probability: float | None = Field(
        description="`loss_probability`, shrunk towards the baseline's in the same way."
    )
    shrinkage: float | None = Field(
        description=(
            "How strongly they are shrunk, 0 to 1. Near 1, similar moments say no more "
            "than all moments."
        )
    )
    interval: OutcomeInterval
    pending: bool = Field(
        description=(
            "true: the agent's past estimates of this action are still being computed, so "
            "`interval` is uncorrected and nothing is shrunk; ask again in a second."
        )
    )


class EpisodicEstimated(RecallAnswer):
    """What to expect of each action, the best first by `rank_by`."""

    actions: list[ActionEstimate]
    novelty: float | None = Field(
        description=(
            "How unusual the state is, 0 to 1: the share of known states that had, at "
            "their own time, a nearer neighbour than this one has. Of ordinary states, 5 % "
            "are above 0.95. Null if the agents hold more than "
            "MEMORY_ESTIMATE_HISTORY_MEMORIES."
        )
    )
    confidence: float | None = Field(
        description="(1 - novelty) * n / (n + 10), n the effective_n of all. Null as novelty is."
    )
    found: int = Field(description="How many closed memories were examined, nearest first.")
    distinct: int = Field(description="How many of them count, as in `count`.")
    overlapping: int = Field(
        description="How many were left out because a nearer one of their product overlaps in time."
    )
    memories: list[str] = Field(description="Ids of the memories that this is computed from.")


class CalibrationFigure(BaseModel):
    """A statistic with its 95 % interval (stationary block bootstrap).

    All null if too little is known."""

    value: float | None
    low: float | None
    high: float | None


class ReliabilityBin(BaseModel):
    """Past estimates with about the same chance of a loss."""

    predicted: float = Field(description="The mean chance of a loss that they stated.")
    observed: float = Field(description="The share that actually lost.")
    count: int


class CalibrationSkill(BaseModel):
    """Skill against the baseline: above 0, similar moments predict better than all moments."""

    brier: CalibrationFigure = Field(description="Of the chance of a loss: 1 - Brier ratio.")
    mse: CalibrationFigure = Field(description="Of the value: 1 - ratio of squared errors.")


class CalibrationReport(PastAnswer):
    """How well an agent's past estimates matched the outcomes."""

    agent_id: str
    as_of: float | None
    n: int = Field(description="Past estimates whose outcome was known. No two overlap in time.")
    level: float = Field(description="The share of outcomes that intervals should contain.")
    coverage: CalibrationFigure = Field(description="The share that they contained.")
    ece: CalibrationFigure = Field(
        description="Expected calibration error: the mean gap between the stated chance of a loss "
        "and the share that lost, in 10 bins of equal count."
    )
    slope: CalibrationFigure = Field(
        description=(
            "Slope of losses on their stated chance: 1 is ideal; near 0, that chance says nothing."
        )
    )
    reliability: list[ReliabilityBin] = Field(description="The same bins, smallest chance first.")
    skill: CalibrationSkill
