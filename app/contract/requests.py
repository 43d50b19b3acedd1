"""The public JSON contract of requests. Answers are in app/contract/answers.py."""

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SkipValidation,
    ValidationInfo,
    field_validator,
    model_validator,
)

from app.contract.fields import (
    MAX_TIME_S,
    MAX_WHOLE,
    AgentId,
    AsOf,
    Consistency,
    Cursor,
    Finite,
    Horizon,
    MemoryId,
    MemoryType,
    MemoryTypeList,
    Metadata,
    MetricName,
    NewAgentId,
    NewMemoryId,
    Pinned,
    Priority,
    Quality,
    Request,
    SampleCursor,
    Scale,
    Step,
    Tag,
    TagList,
    UnixTime,
    Vector,
    WinRate,
)
from app.model import RegimePolicy, Scope, horizon_name

MAX_BATCH = 1000
MAX_TOP_K = 1000
MAX_SEARCHES = 256
MAX_PAGE = 1000
MAX_SAMPLE = 4096

EXPLAIN = "Explain how the answer was found. Such a search bypasses the cache."
MAX_HORIZONS = 16
SAID_AT = (
    "The time that this gets, unix seconds, not after now: a walk through the past gives the time "
    "that it has reached. `recorded_by` goes by when the service was told. Unset: now."
)
DISTINCT = (
    "outcome: if memories of one product overlap in time (from timestamp to outcome_at), only the "
    "nearest counts, because their rewards are partly the same price moves. none: all count."
)


AnsweringScope = Annotated[
    Scope,
    Field(description="Whose memories may answer: the agent's own, the other agents', or all."),
]


class OutcomeAtHorizon(Request):
    """The outcome of a memory at one of several horizons, known at a time of its own."""

    horizon: Horizon
    reward: Finite
    outcome_at: UnixTime = Field(
        description="When this outcome became known, unix seconds: from then on `as_of` sees it."
    )
    mae: Finite | None = Field(
        None, description="Maximum adverse excursion: the worst reward on the way."
    )
    mfe: Finite | None = Field(
        None, description="Maximum favourable excursion: the best reward on the way."
    )
    mae_at: UnixTime | None = Field(None, description="When the worst was reached, unix seconds.")
    mfe_at: UnixTime | None = Field(None, description="When the best was reached, unix seconds.")


def _each_horizon_once(outcomes: list[OutcomeAtHorizon] | None) -> list[OutcomeAtHorizon] | None:
    names = [horizon_name(outcome.horizon) for outcome in outcomes or ()]
    if len(set(names)) < len(names):
        raise ValueError("must name each horizon once")
    return outcomes


HorizonOutcomes = Annotated[
    list[OutcomeAtHorizon],
    Field(
        min_length=1,
        max_length=MAX_HORIZONS,
        description="Outcomes at several horizons, beside the primary `reward`.",
    ),
    AfterValidator(_each_horizon_once),
]


class EpisodicStore(Request):
    """One experience: the state an agent was in, what it did, and what came of it.

    Without a `reward` the memory is open; close it when the outcome is known.
    """

    id: NewMemoryId | None = Field(
        None, description="Your own id makes repeating a store safe. Unset: the service makes one."
    )
    agent_id: NewAgentId
    product_id: Tag
    regime: Tag
    state_vector: Vector
    action: Tag | None = None
    reward: Finite | None = None
    timestamp: UnixTime | None = Field(
        None, description="When the agent was in this state, unix seconds. Unset: now."
    )
    outcome_at: UnixTime | None = Field(
        None,
        description="When the reward became known, unix seconds. `as_of` relies on what you "
        "say here. Unset: the moment of storing, so that no backtest sees the outcome earlier.",
    )
    terminal: bool = False
    next_state_vector: Vector | None = None
    metadata: Metadata = Field(default_factory=dict)
    pinned: Pinned = False
    quality: Quality | None = None
    priority: Priority | None = None
    episode_id: Tag | None = Field(
        None, description="Which trajectory it is part of, say one day of trading or one game."
    )
    step: Step | None = None
    scale: Scale | None = None
    outcomes: HorizonOutcomes | None = None

    @field_validator("outcome_at")
    @classmethod
    def _outcome_follows_the_state(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is None:
            return None
        if info.data.get("reward") is None:
            raise ValueError("is the time of the reward: give reward too")
        timestamp = info.data.get("timestamp")
        if timestamp is not None and value < timestamp:
            raise ValueError("must not be before timestamp")
        return value


class EpisodicStoreBatch(Request):
    """Up to 1000 experiences. Each is checked and stored independently."""

    memories: list[Annotated[EpisodicStore, SkipValidation]] = Field(
        min_length=1, max_length=MAX_BATCH
    )


class ExperienceConditions(Request):
    """Conditions on experiences. All of them must hold."""

    product_id: TagList | None = None
    regime: TagList | None = None
    action: TagList | None = None
    min_reward: Finite | None = Field(
        None, description="A bound on the reward excludes open memories."
    )
    max_reward: Finite | None = None
    since: UnixTime | None = None
    until: UnixTime | None = None
    terminal: bool | None = None
    as_of: AsOf | None = None
    recorded_by: UnixTime | None = Field(
        None,
        description="Leave out what the service was told after this moment (unix seconds), even if "
        "it carries an earlier time: for an audit of what could have been known.",
    )
    min_quality: Quality | None = Field(
        None, description="Exclude memories with a lower quality or none."
    )
    episode_id: TagList | None = Field(None, description="Only of these trajectories.")
    step: Step | None = Field(None, description="Only at this place of a trajectory.")
    min_step: Step | None = Field(None, description="Only from this place of a trajectory on.")
    max_step: Step | None = Field(None, description="Only up to this place of a trajectory.")


class EpisodicConditions(ExperienceConditions):
    """An agent and conditions on its experiences. All of them must hold."""

    agent_id: AgentId


class EpisodicSearch(EpisodicConditions):
    """The state an agent is in now, and which memories may answer."""

    state_vector: Vector
    top_k: int = Field(10, ge=1, le=MAX_TOP_K)
    scope: AnsweringScope = "own"
    regime_policy: RegimePolicy = Field(
        "strict",
        description="What `regime` means. strict: only that regime. prefer: that regime first, "
        "others fill up to `top_k`. any: all regimes, nearest first. Each hit's `regime_step` "
        "says where it came from.",
    )
    max_distance: float | None = Field(
        None, ge=0, le=2, allow_inf_nan=False, description="Exclude hits farther away than this."
    )
    exact: bool = Field(False, description="Compare with every memory, however long it takes.")
    include_vectors: bool = Field(False, description="Return the vectors, too.")
    consistency: Consistency = "eventual"
    explain: bool = Field(False, description=EXPLAIN)
    distinct: Literal["outcome", "none"] = Field("none", description=DISTINCT)
    metric: MetricName | None = Field(
        None,
        description="A learned distance to search by, instead of the cosine distance: its id, or "
        "`promoted`: the one that the swarm goes by at the question's moment, if any. Every memory "
        "in question is compared, so the answer is exact. Refused for an `as_of` before its "
        "`known_at`.",
    )
    horizon: Horizon | None = Field(
        None,
        description="Only memories whose outcome at this horizon was known. An estimate is then "
        "about these outcomes, not the primary reward.",
    )

    recall: bool = Field(
        False,
        description="Answer a `recall_id`: store what you then do under it, and its outcome is "
        "counted. Where the operator has set shares for it, some of these answers have no memories "
        "or those of another of your states; `arm` says which.",
    )

    @field_validator("regime_policy")
    @classmethod
    def _prefers_something(cls, value: RegimePolicy, info: ValidationInfo) -> RegimePolicy:
        if value == "prefer" and info.data.get("regime") is None:
            raise ValueError("prefers a regime: give regime too")
        return value


class EpisodicEstimate(EpisodicSearch):
    """A search whose memories are aggregated by action instead of returned."""

    distinct: Literal["outcome", "none"] = Field("outcome", description=DISTINCT)
    rank_by: Literal["value", "value_low"] = Field(
        "value_low",
        description="The order of actions. value_low: by the value's lower bound, so that luck "
        "with few memories does not win. value: by the mean.",
    )
    scale: Scale | None = Field(
        None,
        description="The present size of moves, such as volatility, in the unit of the memories' "
        "`scale`: each reward is divided by its memory's scale and multiplied by this "
        "one.",
    )

    kernel: Literal["inverse", "rbf"] = Field(
        "inverse",
        description="How a memory at distance d is weighted. inverse: 1/(d + delta). rbf: "
        "exp(-d/bandwidth^2).",
    )
    delta: float = Field(
        1e-3, ge=1e-9, le=1e3, allow_inf_nan=False, description="The delta of the inverse kernel."
    )
    bandwidth: float = Field(
        1.0, ge=1e-3, le=1e3, allow_inf_nan=False, description="The bandwidth of the rbf kernel."
    )
    stop_loss: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="`loss_probability` is the probability of a reward below minus this.",
    )


class EpisodicSearchBatch(Request):
    """Up to 256 searches, answered in one round trip to Redis."""

    searches: list[Annotated[EpisodicSearch, SkipValidation]] = Field(
        min_length=1, max_length=MAX_SEARCHES
    )


class EpisodicWindow(EpisodicConditions):
    """Conditions whose time window may be given relative to now."""

    hours: float | None = Field(
        None,
        gt=0,
        le=MAX_TIME_S / 3600,
        allow_inf_nan=False,
        description="Instead of `since`: the last hours before `as_of`, or before now.",
    )

    @field_validator("hours")
    @classmethod
    def _one_beginning(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("since") is not None:
            raise ValueError("and since both set the beginning: give one of them")
        return value


class EpisodicQuery(EpisodicWindow):
    """Experiences in sorted order, page by page, without comparing vectors."""

    sort_by: Literal["reward", "timestamp"] = "timestamp"
    order: Literal["asc", "desc"] = "desc"
    limit: int = Field(100, ge=1, le=MAX_PAGE)
    cursor: Cursor | None = None


class EpisodicDelete(EpisodicWindow):
    """Experiences to delete."""

    dry_run: bool = Field(True, description="Only count what would be deleted.")
    erase: bool | None = Field(
        None,
        description="True: for good, also what retired. False: questions as of an earlier moment "
        "still find them. Unset: false with a bound on reward or quality, else true.",
    )


class Outcome(Request):
    """The outcome of an open memory: the primary one, those at further horizons, or both."""

    reward: Finite | None = None
    outcome_at: UnixTime | None = Field(
        None,
        description="When the outcome became known, unix seconds. `as_of` relies on what you "
        "say here. Unset: now.",
    )
    terminal: bool | None = Field(None, description="Unset: as stored.")
    outcomes: HorizonOutcomes | None = None
    at: UnixTime | None = Field(None, description=SAID_AT)

    @model_validator(mode="after")
    def _says_what_came(self) -> Self:
        if self.reward is None and self.outcomes is None:
            raise ValueError("must give reward, outcomes or both")
        if self.reward is None and not (self.outcome_at is None and self.terminal is None):
            raise ValueError("outcome_at and terminal belong to a reward: give reward too")
        return self


class EpisodicSample(ExperienceConditions):
    """Experiences to train on, drawn at random without replacement. Open ones are never drawn."""

    agent_id: AgentId | None = Field(None, description="Unset: draw from all agents.")
    size: int = Field(32, ge=1, le=MAX_SAMPLE)
    strategy: Literal["uniform", "prioritized", "fifo", "lifo"] = Field(
        "uniform",
        description="prioritized: draw with probability proportional to (p + 1e-6)^alpha, "
        "where p is the memory's `priority`, or the absolute value of its reward. fifo: in the "
        "order of storing; its cursor continues with what is stored later. lifo: the latest "
        "first.",
    )
    alpha: float = Field(0.6, ge=0, le=10, allow_inf_nan=False)
    beta: float = Field(
        0.4,
        ge=0,
        le=10,
        allow_inf_nan=False,
        description="Exponent of the importance weights (N P)^-beta, the largest of which is 1.",
    )
    stratify_by: Literal["regime", "product_id"] | None = Field(
        None, description="Draw the same number for each value, where there are enough."
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=MAX_WHOLE,
        description="The same seed draws the same memories. Unset: the service makes one.",
    )
    cursor: SampleCursor | None = None
    include_vectors: bool = False


class _Patch(Request):
    """Some fields to change. Omitted fields stay as they are, so null is refused."""

    @field_validator("*")
    @classmethod
    def _not_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("must not be null: leave it out to keep it as it is")
        return value


class EpisodicPatch(_Patch):
    """An owner's later rating of a memory. At least one field; null is refused."""

    quality: Quality | None = None
    priority: Priority | None = None
    at: UnixTime | None = Field(None, description=SAID_AT)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set - {"at"}:
            raise ValueError("must give quality, priority or both")
        return self


class NewPriority(Request):
    """One memory's new weight in prioritized samples."""

    id: Tag
    priority: Priority


class EpisodicPriorities(Request):
    """New priorities of up to 1000 of an agent's memories, such as the errors of a learning step.

    If an id is named twice, its last priority counts.
    """

    agent_id: AgentId
    priorities: list[NewPriority] = Field(min_length=1, max_length=MAX_BATCH)


class SemanticStore(Request):
    """One concept of the swarm: a pattern, a regime or a strategy."""

    id: MemoryId | None = Field(
        None, description="Your own id makes repeating a store safe. Unset: the service makes one."
    )
    memory_type: MemoryType
    regime_name: Tag
    concept_vector: Vector
    sharpe_ratio: Finite
    win_rate: WinRate
    metadata: Metadata = Field(default_factory=dict)
    pinned: Pinned = False


class SemanticStoreBatch(Request):
    """Up to 1000 concepts. Each is checked and stored independently."""

    memories: list[Annotated[SemanticStore, SkipValidation]] = Field(
        min_length=1, max_length=MAX_BATCH
    )


class SemanticPatch(_Patch):
    """What to change in a concept. Omitted fields stay as they are; `metadata` is replaced as a
    whole.

    At least one field; null is refused.
    """

    memory_type: MemoryType | None = None
    regime_name: Tag | None = None
    concept_vector: Vector | None = None
    sharpe_ratio: Finite | None = None
    win_rate: WinRate | None = None
    metadata: Metadata | None = None
    pinned: Pinned | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must give at least one field to change")
        return self


class SemanticConditions(Request):
    """Conditions on the swarm's concepts. All of them must hold."""

    memory_type: MemoryTypeList | None = None
    regime_name: TagList | None = None
    min_sharpe_ratio: Finite | None = None
    min_win_rate: Finite | None = None
    min_access_count: int | None = Field(
        None,
        ge=0,
        le=MAX_WHOLE,
        description="Compares the counter as last moved into the index, which lags "
        "`access_count` by at most MEMORY_ACCESS_FOLD_INTERVAL_S and "
        "MEMORY_ACCESS_FLUSH_INTERVAL_S.",
    )


class KnownConcepts(SemanticConditions):
    """Conditions on the concepts that were known at a given moment."""

    as_of: AsOf | None = None

    @field_validator("as_of")
    @classmethod
    def _counters_are_of_now(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("min_access_count") is not None:
            raise ValueError("and min_access_count: past access counts are not kept")
        return value


class SemanticSearch(KnownConcepts):
    """A state or concept, and which of the swarm's concepts may answer."""

    concept_vector: Vector
    top_k: int = Field(10, ge=1, le=MAX_TOP_K)
    max_distance: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    exact: bool = False
    include_vectors: bool = False
    consistency: Consistency = "eventual"
    explain: bool = Field(False, description=EXPLAIN)


class SemanticQuery(KnownConcepts):
    """Concepts in sorted order, page by page, without comparing vectors."""

    sort_by: Literal["sharpe_ratio", "win_rate", "access_count", "last_accessed", "created_at"] = (
        "sharpe_ratio"
    )

    @field_validator("sort_by")
    @classmethod
    def _sorts_by_what_was_known(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("as_of") is not None and value in {"access_count", "last_accessed"}:
            raise ValueError("must not be a counter with as_of: past access counts are not kept")
        return value

    order: Literal["asc", "desc"] = "desc"
    limit: int = Field(100, ge=1, le=MAX_PAGE)
    cursor: Cursor | None = None


class SemanticDelete(SemanticConditions):
    """Concepts to delete."""

    dry_run: bool = Field(True, description="Only count what would be deleted.")
