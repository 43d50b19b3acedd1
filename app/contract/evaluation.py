"""The public JSON contract of evaluations: does a memory help?"""

from typing import Literal, Self

from pydantic import BaseModel, Field, computed_field, model_validator

from app.contract.fields import (
    MAX_WHOLE,
    WHOLE_SINCE,
    AgentId,
    AsOf,
    Finite,
    Horizon,
    MetricName,
    Request,
    Tag,
    TagList,
    UnixTime,
)
from app.contract.jobs import AskedJob
from app.contract.requests import DISTINCT, MAX_TOP_K, AnsweringScope

StatisticName = Literal["rank_correlation", "brier", "interval_score", "profit"]
VerdictName = Literal["helps", "harms", "unproven"]


class Evaluate(Request):
    """Whose memory is judged, over which period, and by what."""

    agent_id: AgentId
    scope: AnsweringScope = "own"
    since: UnixTime | None = Field(None, description="Ask memories from this timestamp on.")
    until: UnixTime | None = Field(None, description="Ask memories up to this timestamp.")
    as_of: AsOf | None = None
    action: Tag | None = Field(None, description="Ask memories of this action; unset: of all.")
    horizon: Horizon | None = Field(
        None, description=("The horizon of the outcomes; unset: the primary ones.")
    )
    top_k: int = Field(
        50, ge=1, le=MAX_TOP_K, description=("How many neighbours each question asks for.")
    )
    product_id: TagList | None = Field(None, description="Ask, and answer by, these products.")
    regime: TagList | None = Field(None, description="Ask, and answer by, these regimes.")
    scaled: bool = Field(
        False, description="Rewards in units of each memory's `scale`; 1 where it has none."
    )
    metric: MetricName | None = Field(
        None,
        description="A learned distance to search by: its id, or `promoted`. Only memories from "
        "its `known_at` on are asked, for what came before taught it.",
    )
    kernel: Literal["inverse", "rbf"] = Field(
        "inverse", description="How neighbours are weighted, as in an estimate."
    )
    delta: float = Field(
        1e-3, ge=1e-9, le=1e3, allow_inf_nan=False, description="The delta of the inverse kernel."
    )
    bandwidth: float = Field(
        1.0, ge=1e-3, le=1e3, allow_inf_nan=False, description="The bandwidth of the rbf kernel."
    )
    distinct: Literal["outcome", "none"] = Field("outcome", description=DISTINCT)
    stop_loss: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="A loss is a reward below minus this."
    )
    cost: Finite = Field(
        0.0,
        ge=0,
        description=(
            "What acting costs, in units of the reward. `profit` counts acting only if the "
            "expected reward is above this."
        ),
    )
    statistic: StatisticName = Field(
        "rank_correlation",
        description="The statistic that decides. Choose it before you look at any result.",
    )
    placebos: int = Field(
        99,
        ge=19,
        le=999,
        description=("How many placebos, memories with rotated rewards, to compare with."),
    )
    seed: int = Field(0, ge=0, le=MAX_WHOLE, description="The same seed draws the same placebos.")

    @model_validator(mode="after")
    def _period_is_not_empty(self) -> Self:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError("since must not be after until")
        return self


class EvaluationFinding(BaseModel):
    """One statistic of the forecasts, over all questions. Higher is better."""

    statistic: StatisticName = Field(
        description=(
            "rank_correlation: Spearman's, of expected and actual reward. brier: minus the "
            "Brier score of the chance of a loss. interval_score: minus that of q05 to "
            "q95. profit: mean reward less `cost` of acting if more than `cost` is "
            "expected, else 0."
        )
    )
    value: float = Field(description="The value with the memory.")
    placebo: float = Field(description="The mean value with placebos.")
    effect: float = Field(description="value - placebo.")
    low: float = Field(description="Lower end of the effect's 95 % interval (block bootstrap).")
    high: float = Field(description="Its upper end.")
    detectable: float = Field(
        description="The smallest effect that this much data would reveal in 80 of 100 cases."
    )
    p_helps: float = Field(
        description=(
            "The share of placebos that score at least as high, counting the memory as one of them."
        )
    )
    p_harms: float = Field(description="The share that score at least as low.")
    holm_helps: float = Field(description="p_helps, corrected for all statistics (Holm 1979).")
    holm_harms: float = Field(description="p_harms, corrected in the same way.")
    placebos: list[float] = Field(description="The value of each placebo.")


class EvaluationGain(BaseModel):
    """By how much a learned distance is better than the cosine distance."""

    value: float = Field(description="`statistic` by the metric, less that by the cosine distance.")
    low: float = Field(description="Lower end of its 95 % interval (block bootstrap).")
    high: float = Field(description="Its upper end.")


class EvaluationResult(BaseModel):
    """What an evaluation found."""

    verdict: VerdictName = Field(
        description="helps: p_helps of `statistic` is at most .05. harms: p_harms is. unproven: "
        "neither, or fewer than 20 questions."
    )
    metric: str | None = Field(None, description="The learned distance that was searched by.")
    gain: EvaluationGain | None = Field(
        None, description="Only with a metric: against the cosine distance, on the same questions."
    )
    since: float | None = Field(None, description="Questions are from this timestamp on.")
    statistic: StatisticName = Field(
        description=("The statistic that decides the verdict, as requested.")
    )
    memories: int = Field(
        description="How many closed memories were known, of the agents that `scope` names."
    )
    eligible: int = Field(
        description=(
            "How many in the period can be asked without two of a product overlapping in time."
        )
    )
    asked: int = Field(description="How many of these were asked: the latest, at most 1,000.")
    questions: int = Field(
        description=("How many of these found at least 5 neighbours with their own action.")
    )
    findings: list[EvaluationFinding] = Field(description="One for each statistic.")
    partial: bool = Field(False, description="True if some of it was purged: see `whole_since`.")
    whole_since: float | None = Field(None, description=WHOLE_SINCE)


class Evaluation(AskedJob):
    """An evaluation: its progress, and its result once it is done."""

    result: EvaluationResult | None = Field(None, description="What it found, once it is done.")

    @computed_field(description="That of the result.")  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> VerdictName | None:
        """Return the verdict. None until it is known."""
        return None if self.result is None else self.result.verdict


class EvaluationDeleted(BaseModel):
    """An evaluation that was cancelled and deleted."""

    id: str = Field(description="The evaluation.")
    deleted: Literal[True] = Field(True, description="Its result is gone.")
