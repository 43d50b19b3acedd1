"""The public JSON contract of evaluations: does a memory help?"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.contract.fields import AgentId, AsOf, Finite, Horizon, Request, Tag, UnixTime
from app.contract.requests import DISTINCT, MAX_TOP_K

StatisticName = Literal["rank_correlation", "brier", "interval_score", "profit"]
VerdictName = Literal["helps", "harms", "unproven"]


class Evaluate(Request):
    """Whose memory is judged, over which period, and by what."""

    agent_id: AgentId
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
    seed: int = Field(0, ge=0, le=2**53 - 1, description="The same seed draws the same placebos.")


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


class EvaluationResult(BaseModel):
    """What an evaluation found."""

    verdict: VerdictName = Field(
        description="helps: p_helps of `statistic` is at most .05. harms: p_harms is. unproven: "
        "neither, or fewer than 20 questions."
    )
    statistic: StatisticName = Field(
        description=("The statistic that decides the verdict, as requested.")
    )
    memories: int = Field(description="How many closed memories were known.")
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


class Evaluation(BaseModel):
    """An evaluation: its progress, and its result once it is done."""

    id: str
    agent_id: str
    status: Literal["waiting", "running", "done", "failed", "cancelled"] = Field(
        description="cancelled: nobody asked for it for two minutes, or the service stopped."
    )
    done: int = Field(description="Questions asked so far.")
    total: int = Field(description="Questions to ask; 0: not known yet.")
    created_at: float = Field(description="Unix seconds.")
    request: dict[str, Any] = Field(description="What was asked for.")
    result: EvaluationResult | None = Field(None, description="What it found, once it is done.")
    problem: dict[str, Any] | None = Field(None, description="Why it failed.")


class EvaluationDeleted(BaseModel):
    """An evaluation that was cancelled and deleted."""

    id: str
    deleted: Literal[True] = True
