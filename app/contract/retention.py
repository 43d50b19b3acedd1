"""The JSON contract of retention: the rules, what they would remove, and why."""

from typing import Annotated

from pydantic import BaseModel, Field

from app.contract.fields import MAX_WHOLE, AgentId, Finite, Request
from app.model import AgeBy

MAX_AGE_DAYS = 36_500

AgeDays = Annotated[float, Field(ge=0, le=MAX_AGE_DAYS, allow_inf_nan=False)]


class SemanticRules(Request):
    """The rules that keep a concept. Unset rules come from the service's settings."""

    keep_sharpe_ratio_above: Finite | None = Field(
        None, description="A concept with a higher Sharpe ratio stays (setting: 1.0)."
    )
    keep_access_count_above: int | None = Field(
        None,
        ge=0,
        le=MAX_WHOLE,
        description="A concept that more searches found in the last 30 days stays (setting: 100).",
    )
    min_age_days: AgeDays | None = Field(
        None,
        description="A younger concept stays. If unset, the other two rules decide alone. (The "
        "background job also keeps concepts younger than "
        "MEMORY_RETENTION_SEMANTIC_MIN_AGE_DAYS.)",
    )


class Retention(Request):
    """What to prune. Pinned memories are never removed."""

    dry_run: bool = Field(True, description="Only report what would be removed.")
    agent_id: AgentId | None = Field(
        None,
        description="Prune only this agent's experiences, and no concepts. If unset, "
        "everything is pruned.",
    )
    episodic_max_age_days: AgeDays | None = Field(
        None, description="An older experience is removed (setting: 90)."
    )
    episodic_age_by: AgeBy | None = Field(
        None,
        description="Which time sets the age: `recorded_at`, when it was stored (the default), "
        "or `timestamp`, the market's. By `timestamp`, history that was imported yesterday may "
        "be removed today.",
    )
    semantic: SemanticRules | None = None


class EpisodicRemoval(BaseModel):
    """One experience that the rules remove."""

    agent_id: str
    id: str
    timestamp: float
    recorded_at: float | None = Field(
        None, description="Null if a former release stored it, which did not record the time."
    )
    reason: str


class EpisodicRetention(BaseModel):
    """What retention found among the experiences."""

    max_age_days: float
    age_by: AgeBy
    older_than: float = Field(description="Unix seconds; anything earlier is too old.")
    matched: int = Field(description="How many experiences the rules remove.")
    deleted: int = Field(description="How many of them were removed; 0 in a dry run.")
    retired: int = Field(
        description="How many of those removed still answer questions as of an earlier moment."
    )
    purged: int = Field(
        description="How many that had retired earlier were deleted for good: too old, or too many "
        "(MEMORY_RETENTION_PAST_DAYS, MEMORY_RETENTION_PAST_MEMORIES)."
    )
    kept_pinned: int = Field(description="How many are too old but pinned.")
    kept_undated: int = Field(
        description="How many stay because it is unknown when they were stored."
    )
    emptied_agents: int = Field(description="How many agents lose all their experiences.")
    emptied: list[str] = Field(description="Some of these agents, by name.")
    sample: list[EpisodicRemoval] = Field(description="Some of the matches, oldest first.")
    failed_owners: list[str] = Field(
        default_factory=list,
        description="Agents that were skipped because of an error, with its text.",
    )


class SemanticRemoval(BaseModel):
    """One concept that the rules remove."""

    id: str
    sharpe_ratio: float
    accesses_in_window: int
    created_at: float
    reason: str


class SemanticKept(BaseModel):
    """How many concepts each rule keeps. One that several rules keep counts for the first of
    them."""

    pinned: int
    sharpe_ratio: int
    min_age_days: int
    access_count: int


class SemanticRetention(BaseModel):
    """What retention found among the concepts."""

    keep_sharpe_ratio_above: float
    keep_access_count_above: int
    min_age_days: float
    window_days: int = Field(description="Over how many whole days (UTC) accesses are counted.")
    matched: int = Field(description="How many concepts the rules remove.")
    deleted: int = Field(description="How many of them were removed; 0 in a dry run.")
    kept: SemanticKept
    sample: list[SemanticRemoval] = Field(description="Some of the matches, oldest first.")


class RetentionAnswer(BaseModel):
    """What retention removed, or would remove, and why."""

    dry_run: bool
    as_of: float = Field(description="The moment, in unix seconds, at which ages were measured.")
    episodic: EpisodicRetention
    semantic: SemanticRetention | None = Field(description="Null if the request named an agent.")
    warnings: list[str] = Field(description="What to check before removing anything.")
    complete: bool = Field(
        description="False if the time for one call ran out before everything was removed: "
        "call again."
    )
