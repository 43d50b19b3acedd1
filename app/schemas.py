"""The public JSON contract: what comes in is checked here, what goes out is described here."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    Field,
    SkipValidation,
    ValidationInfo,
    field_validator,
    model_validator,
)

from app.durability import Durability
from app.fields import (
    MAX_TIME_S,
    AgentId,
    AsOf,
    Consistency,
    Cursor,
    Finite,
    MemoryType,
    MemoryTypeList,
    Metadata,
    Pinned,
    Priority,
    Quality,
    Request,
    SampleCursor,
    Tag,
    TagList,
    UnixTime,
    Vector,
    WinRate,
)
from app.filters import RegimePolicy

MAX_BATCH = 1000
MAX_TOP_K = 1000
MAX_SEARCHES = 256
MAX_PAGE = 1000
MAX_SAMPLE = 4096

EXPLAIN = "Say how the answer came about. Asks Redis anew, past the cache."


class EpisodicStore(Request):
    """One experience: the state an agent was in, what it did, what came of it.

    Without a `reward` the memory is open, to be closed when the outcome is known.
    """

    id: Tag | None = Field(
        None, description="Your own id makes a repeated store safe. Unset: one is made."
    )
    agent_id: AgentId
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
        description="When the reward was known, unix seconds: your word, by which `as_of` goes. "
        "Unset: the moment of storing, so that no backtest sees it earlier.",
    )
    terminal: bool = False
    next_state_vector: Vector | None = None
    metadata: Metadata = Field(default_factory=dict)
    pinned: Pinned = False
    quality: Quality | None = None
    priority: Priority | None = None

    @field_validator("outcome_at")
    @classmethod
    def _outcome_follows_the_state(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is None:
            return None
        if info.data.get("reward") is None:
            raise ValueError("is the time of a reward: give reward too")
        timestamp = info.data.get("timestamp")
        if timestamp is not None and value < timestamp:
            raise ValueError("must not be before timestamp")
        return value


class EpisodicStoreBatch(Request):
    """Up to 1000 experiences. Each is checked and stored on its own."""

    memories: list[Annotated[EpisodicStore, SkipValidation]] = Field(
        min_length=1, max_length=MAX_BATCH
    )


class ExperienceConditions(Request):
    """Which experiences: all given conditions must hold."""

    product_id: TagList | None = None
    regime: TagList | None = None
    action: TagList | None = None
    min_reward: Finite | None = Field(None, description="Bounds on the reward leave out open ones.")
    max_reward: Finite | None = None
    since: UnixTime | None = None
    until: UnixTime | None = None
    terminal: bool | None = None
    as_of: AsOf | None = None
    min_quality: Quality | None = Field(
        None, description="Leave out memories whose owner gave less, or nothing."
    )


class EpisodicConditions(ExperienceConditions):
    """Whose experiences, and which of them: all given conditions must hold."""

    agent_id: AgentId


class EpisodicSearch(EpisodicConditions):
    """The state an agent is in now, and which of its memories may answer."""

    state_vector: Vector
    top_k: int = Field(10, ge=1, le=MAX_TOP_K)
    scope: Literal["own", "others", "all"] = Field(
        "own", description="Whose memories: the agent's own, the other agents', or all."
    )
    regime_policy: RegimePolicy = Field(
        "strict",
        description="What `regime` means. strict: only it. prefer: it first, and others fill up to "
        "`top_k`. any: all, nearest first. Each hit's `regime_step` says where it came from.",
    )
    max_distance: float | None = Field(
        None, ge=0, le=2, allow_inf_nan=False, description="Leave out hits farther than this."
    )
    exact: bool = Field(False, description="Compare with every memory, however long it takes.")
    include_vectors: bool = Field(False, description="Return the vectors too.")
    consistency: Consistency = "eventual"
    explain: bool = Field(False, description=EXPLAIN)

    @field_validator("regime_policy")
    @classmethod
    def _prefers_something(cls, value: RegimePolicy, info: ValidationInfo) -> RegimePolicy:
        if value == "prefer" and info.data.get("regime") is None:
            raise ValueError("prefers a regime: give regime too")
        return value


class EpisodicEstimate(EpisodicSearch):
    """A search whose memories are summed up by action instead of returned."""

    kernel: Literal["inverse", "rbf"] = Field(
        "inverse",
        description="A memory's weight by its distance d. inverse: 1/(d + delta). rbf: "
        "exp(-d/bandwidth^2).",
    )
    delta: float = Field(
        1e-3, ge=1e-9, le=1e3, allow_inf_nan=False, description="Of the inverse kernel."
    )
    bandwidth: float = Field(
        1.0, ge=1e-3, le=1e3, allow_inf_nan=False, description="Of the rbf kernel."
    )
    stop_loss: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="`loss_probability` is that of a reward below minus this.",
    )


class EpisodicSearchBatch(Request):
    """Up to 256 searches, answered in one round trip to Redis."""

    searches: list[Annotated[EpisodicSearch, SkipValidation]] = Field(
        min_length=1, max_length=MAX_SEARCHES
    )


class EpisodicWindow(EpisodicConditions):
    """Conditions that may be given relative to now."""

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
            raise ValueError("and since both name the beginning: give one")
        return value


class EpisodicQuery(EpisodicWindow):
    """Experiences in an order, page by page, without comparing vectors."""

    sort_by: Literal["reward", "timestamp"] = "timestamp"
    order: Literal["asc", "desc"] = "desc"
    limit: int = Field(100, ge=1, le=MAX_PAGE)
    cursor: Cursor | None = None


class EpisodicDelete(EpisodicWindow):
    """Experiences to delete."""

    dry_run: bool = Field(True, description="Only count what would be deleted.")


class Outcome(Request):
    """What came of an open memory."""

    reward: Finite
    outcome_at: UnixTime | None = Field(
        None,
        description="When it was known, unix seconds: your word, by which `as_of` goes. Unset: "
        "now.",
    )
    terminal: bool | None = Field(None, description="Unset: as it was stored.")


class EpisodicSample(ExperienceConditions):
    """Experiences to train on, drawn by chance without replacement. Open ones are never drawn."""

    agent_id: AgentId | None = Field(None, description="Unset: of all agents.")
    size: int = Field(32, ge=1, le=MAX_SAMPLE)
    strategy: Literal["uniform", "prioritized"] = Field(
        "uniform",
        description="prioritized: with a chance proportional to (p + 1e-6)^alpha, p the memory's "
        "`priority`, or its reward without its sign.",
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
        None, description="The same number of each value, as far as there are so many."
    )
    seed: int | None = Field(
        None, ge=0, le=2**53 - 1, description="The same seed draws the same. Unset: one is made."
    )
    cursor: SampleCursor | None = None
    include_vectors: bool = False


class EpisodicPatch(Request):
    """What an owner says of a memory later. At least one field; null is refused."""

    quality: Quality | None = None
    priority: Priority | None = None

    @field_validator("*")
    @classmethod
    def _not_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("must not be null: leave it out to keep it as it is")
        return value

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must give quality, priority or both")
        return self


class SemanticStore(Request):
    """One concept of the swarm: a pattern, a regime or a strategy."""

    id: Tag | None = Field(
        None, description="Your own id makes a repeated store safe. Unset: one is made."
    )
    memory_type: MemoryType
    regime_name: Tag
    concept_vector: Vector
    sharpe_ratio: Finite
    win_rate: WinRate
    metadata: Metadata = Field(default_factory=dict)
    pinned: Pinned = False


class SemanticStoreBatch(Request):
    """Up to 1000 concepts. Each is checked and stored on its own."""

    memories: list[Annotated[SemanticStore, SkipValidation]] = Field(
        min_length=1, max_length=MAX_BATCH
    )


class SemanticPatch(Request):
    """What to change of a concept; what is left out stays. `metadata` is replaced whole.

    At least one field; null is refused.
    """

    memory_type: MemoryType | None = None
    regime_name: Tag | None = None
    concept_vector: Vector | None = None
    sharpe_ratio: Finite | None = None
    win_rate: WinRate | None = None
    metadata: Metadata | None = None
    pinned: Pinned | None = None

    @field_validator("*")
    @classmethod
    def _not_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("must not be null: leave it out to keep it as it is")
        return value

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must name at least one field to change")
        return self


class SemanticConditions(Request):
    """Which of the swarm's concepts: all given conditions must hold."""

    memory_type: MemoryTypeList | None = None
    regime_name: TagList | None = None
    min_sharpe_ratio: Finite | None = None
    min_win_rate: Finite | None = None
    min_access_count: int | None = Field(
        None,
        ge=0,
        description="Of the counters as folded last: at most MEMORY_ACCESS_FOLD_INTERVAL_S and "
        "MEMORY_ACCESS_FLUSH_INTERVAL_S behind `access_count`.",
    )


class KnownConcepts(SemanticConditions):
    """Which of the concepts that were known at a moment."""

    as_of: AsOf | None = None

    @field_validator("as_of")
    @classmethod
    def _counters_are_of_now(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("min_access_count") is not None:
            raise ValueError("and min_access_count: how often it was found by then is not kept")
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
    """Concepts in an order, page by page, without comparing vectors."""

    sort_by: Literal["sharpe_ratio", "win_rate", "access_count", "last_accessed", "created_at"] = (
        "sharpe_ratio"
    )

    @field_validator("sort_by")
    @classmethod
    def _sorts_by_what_was_known(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("as_of") is not None and value in {"access_count", "last_accessed"}:
            raise ValueError("must not be a counter with as_of: those of the past are not kept")
        return value

    order: Literal["asc", "desc"] = "desc"
    limit: int = Field(100, ge=1, le=MAX_PAGE)
    cursor: Cursor | None = None


class SemanticDelete(SemanticConditions):
    """Concepts to delete."""

    dry_run: bool = Field(True, description="Only count what would be deleted.")


class EpisodicRecord(BaseModel):
    """One experience as it is stored."""

    id: str
    agent_id: str
    product_id: str
    regime: str
    action: str | None
    reward: float | None
    timestamp: float
    outcome_at: float | None
    terminal: bool
    metadata: dict[str, Any]
    pinned: bool
    quality: float | None = Field(None, description="Left out when it has none.")
    quality_at: float | None = Field(
        None, description="When the quality was given; left out: with the memory."
    )
    priority: float | None = Field(None, description="Left out when it has none.")
    priority_at: float | None = Field(
        None, description="When the priority was given last; left out: with the memory."
    )
    state_vector: list[float] | None = Field(None, description="Only when asked for.")
    next_state_vector: list[float] | None = Field(None, description="Only when asked for.")


class EpisodicHit(EpisodicRecord):
    """One experience that a search found."""

    regime_step: Literal["asked", "other"] | None = Field(
        None, description="Of the asked regime or of another; only with regime_policy."
    )

    distance: float = Field(description="Cosine distance: 0 the same, 2 opposite.")


class SemanticRecord(BaseModel):
    """One concept as it is stored."""

    id: str
    memory_type: MemoryType
    regime_name: str
    sharpe_ratio: float
    win_rate: float
    created_at: float
    metadata: dict[str, Any]
    pinned: bool
    access_count: int | None = Field(
        description="How many searches found it before this answer; null with `as_of`, whose "
        "questions are not counted either. Those of the last seconds "
        "through other service processes may be missing (MEMORY_ACCESS_FOLD_INTERVAL_S)."
    )
    last_accessed: float | None = Field(
        description="When a search found it last, unix seconds; null: never."
    )
    concept_vector: list[float] | None = Field(None, description="Only when asked for.")


class SemanticHit(SemanticRecord):
    """One concept that a search found."""

    distance: float = Field(description="Cosine distance: 0 the same, 2 opposite.")


class Explanation(BaseModel):
    """How an answer came about. The question was asked anew, past the cache."""

    index: str = Field(description="The index that was asked, the first of `searches`.")
    searches: int = Field(description="Indexes that were asked.")
    algorithm: str = Field(description="FLAT compares with every vector; HNSW is approximate.")
    exact: bool
    node: str = Field(description="The Redis node that answered.")
    batch_size: int = Field(description="Searches that went to Redis in the same round trip.")
    cache: Literal["bypassed"]
    stages_ms: dict[str, float] = Field(
        description="Time in each stage: parse (the body), waiting (for a place in a batch), "
        "redis (the round trip), decode (the reply), total (until the answer was written)."
    )


class SearchAnswer(BaseModel):
    """How far an answer can be trusted, beside its memories."""

    count: int
    exact: bool = Field(description="True: no nearer memory exists.")
    partial: bool = Field(description="True: part of the memory could not be searched.")
    cached: bool
    served_by: str = Field(description="The Redis node that answered.")
    took_ms: float
    explain: Explanation | None = Field(None, description="Only when asked for.")


class EpisodicAnswer(SearchAnswer):
    """The most similar experiences, nearest first."""

    memories: list[EpisodicHit]


class EpisodicDrawn(EpisodicRecord):
    """One experience that was drawn."""

    probability: float = Field(description="P: the chance to be drawn first.")
    weight: float = Field(description="Importance weight: (N P)^-beta over the largest of all.")


class EpisodicSampled(BaseModel):
    """Experiences in the order in which they were drawn."""

    memories: list[EpisodicDrawn]
    count: int
    population: int = Field(description="How many could be drawn, N.")
    seed: int = Field(description="Draws the same again.")
    next_cursor: str | None = Field(description="Goes on without repeating; null: all are drawn.")
    took_ms: float


class ActionEstimate(BaseModel):
    """What came of one action in the memories found. Statistics are weighted by the kernel."""

    action: str | None
    count: int
    value: float = Field(description="Mean reward.")
    stdev: float = Field(description="Standard deviation of the rewards.")
    q05: float
    q50: float
    q95: float
    win_rate: float = Field(description="Share of rewards above 0.")
    loss_probability: float = Field(description="Share of rewards below minus `stop_loss`.")
    effective_n: float = Field(description="(sum w)^2 / sum w^2: `count` where all weigh the same.")
    nearest_distance: float


class EpisodicEstimated(SearchAnswer):
    """What to expect of each action, the highest value first."""

    actions: list[ActionEstimate]
    novelty: float = Field(
        description="Share of the memory's own states that have a nearer neighbour than this one."
    )
    confidence: float = Field(description="(1 - novelty) * n / (n + 10), n the effective_n of all.")
    memories: list[str] = Field(description="Ids of the memories that this is made of.")


class SemanticAnswer(SearchAnswer):
    """The most similar concepts, nearest first."""

    memories: list[SemanticHit]


class FieldError(BaseModel):
    """One wrong field."""

    field: str
    detail: str


class Problem(BaseModel):
    """An error as RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str = Field(description="What to do, in one sentence.")
    code: str = Field(description="Stable name of the error.")
    retryable: bool = Field(description="True: the same request may be sent again.")
    field: str | None = None
    errors: list[FieldError] | None = None
    request_id: str | None = None


class EpisodicSearchResults(BaseModel):
    """An answer or a problem for each search, in order."""

    results: list[EpisodicAnswer | Problem]


class EpisodicPage(BaseModel):
    """One page of experiences."""

    memories: list[EpisodicRecord]
    total: int = Field(description="All that match, on this page or not.")
    next_cursor: str | None = Field(description="Null on the last page.")


class SemanticPage(BaseModel):
    """One page of concepts."""

    memories: list[SemanticRecord]
    total: int = Field(description="All that match, on this page or not.")
    next_cursor: str | None = Field(description="Null on the last page.")


class Deleted(BaseModel):
    """What a deletion by filter found and did."""

    matched: int
    deleted: int
    remaining: int = Field(
        description="Matched and still there: always so in a dry run; otherwise the time for one "
        "call was over, so call again."
    )
    durability: Durability = Field(description="How safe it is: what was asked for was reached.")


class Closed(EpisodicRecord):
    """A memory with its outcome."""

    changed: bool = Field(description="False: this very outcome was known already.")
    token: str | None = Field(description="Null when nothing was written.")
    durability: Durability = Field(description="How safe it is: what was asked for was reached.")


class Rated(EpisodicRecord):
    """A memory with its ratings."""

    changed: bool = Field(description="False: it had these ratings already.")
    token: str | None = Field(description="Null when nothing was written.")


class EpisodicStored(BaseModel):
    """A confirmed store."""

    id: str
    agent_id: str
    created: bool = Field(description="False: this very memory was there already.")
    token: str = Field(description="Give it as `consistency` to read this write on any node.")
    durability: Durability = Field(description="How safe it is: what was asked for was reached.")


class SemanticStored(BaseModel):
    """A confirmed store."""

    id: str
    created: bool
    token: str
    durability: Durability = Field(description="How safe it is: what was asked for was reached.")


class SemanticPatched(SemanticRecord):
    """A concept as it is now."""

    token: str
    durability: Durability = Field(description="How safe it is: what was asked for was reached.")


class BatchResult(BaseModel):
    """What became of one memory of a batch."""

    index: int
    id: str | None
    status: Literal["created", "unchanged", "error"]
    error: Problem | None = None


class BatchStored(BaseModel):
    """What became of a batch. `token` is None when nothing was written."""

    results: list[BatchResult]
    created: int
    failed: int
    token: str | None
    durability: Durability = Field(description="How safe it is: what was asked for was reached.")
