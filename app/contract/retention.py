"""The JSON contract of retention: which rules, and what they would remove and why."""

from typing import Annotated

from pydantic import BaseModel, Field

from app.contract.fields import AgentId, Finite, Request
from app.model import AgeBy

MAX_AGE_DAYS = 36_500

AgeDays = Annotated[float, Field(ge=0, le=MAX_AGE_DAYS, allow_inf_nan=False)]


class SemanticRules(Request):
    """What keeps a concept. Unset: as the service's settings say."""

    keep_sharpe_ratio_above: Finite | None = Field(
        None, description="A concept with a higher Sharpe ratio stays (setting: 1.0)."
    )
    keep_access_count_above: int | None = Field(
        None,
        ge=0,
        description="A concept that more searches found in the last 30 days stays (setting: 100).",
    )
    min_age_days: AgeDays | None = Field(
        None,
        description="A younger concept stays. Unset: the two rules alone decide. (The "
        "background job keeps concepts of less than 30 days, or as the setting says.)",
    )


class Retention(Request):
    """What to prune. Pinned memories are never removed."""

    dry_run: bool = Field(True, description="Only say what would be removed.")
    agent_id: AgentId | None = Field(
        None, description="Only this agent's experiences, and no concepts. Unset: everything."
    )
    episodic_max_age_days: AgeDays | None = Field(
        None, description="An older experience is removed (setting: 90)."
    )
    episodic_age_by: AgeBy | None = Field(
        None,
        description="Which time makes its age: `recorded_at`, when it was stored (the setting's "
        "default), or `timestamp`, the market's. By `timestamp` history that was stored "
        "yesterday may go today.",
    )
    semantic: SemanticRules | None = None


class EpisodicRemoval(BaseModel):
    """One experience that is removed."""

    agent_id: str
    id: str
    timestamp: float
    recorded_at: float | None = Field(
        None, description="Null: stored by a former release, which did not keep that."
    )
    reason: str


class EpisodicRetention(BaseModel):
    """What retention found among the experiences."""

    max_age_days: float
    age_by: AgeBy
    older_than: float = Field(description="Unix seconds: what is earlier is too old.")
    matched: int = Field(description="How many the rules remove.")
    deleted: int = Field(description="How many of them are gone; 0 in a dry run.")
    kept_pinned: int = Field(description="How many are too old but pinned.")
    kept_undated: int = Field(
        description="How many stay because nobody knows when they were stored."
    )
    emptied_agents: int = Field(description="How many agents lose everything by this.")
    emptied: list[str] = Field(description="Some of these agents, by name.")
    sample: list[EpisodicRemoval] = Field(description="Some of those that match, oldest first.")
    failed_owners: list[str] = Field(
        default_factory=list, description="Agents that were left out for an error, with its text."
    )


class SemanticRemoval(BaseModel):
    """One concept that is removed."""

    id: str
    sharpe_ratio: float
    accesses_in_window: int
    created_at: float
    reason: str


class SemanticKept(BaseModel):
    """How many concepts each rule keeps; one that several keep counts for the first of them."""

    pinned: int
    sharpe_ratio: int
    min_age_days: int
    access_count: int


class SemanticRetention(BaseModel):
    """What retention found among the concepts."""

    keep_sharpe_ratio_above: float
    keep_access_count_above: int
    min_age_days: float
    window_days: int = Field(description="Days for which accesses count: whole days (UTC).")
    matched: int = Field(description="How many the rules remove.")
    deleted: int = Field(description="How many of them are gone; 0 in a dry run.")
    kept: SemanticKept
    sample: list[SemanticRemoval] = Field(description="Some of those that match, oldest first.")


class RetentionAnswer(BaseModel):
    """What retention removed, or would remove, and why."""

    dry_run: bool
    as_of: float = Field(description="Unix seconds for which ages were taken.")
    episodic: EpisodicRetention
    semantic: SemanticRetention | None = Field(description="Null when one agent was named.")
    warnings: list[str] = Field(description="What to look at before it is done.")
    complete: bool = Field(
        description="False: the time for one call was over before everything was removed; call "
        "again."
    )
