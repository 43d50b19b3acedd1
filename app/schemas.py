"""The public JSON contract: what comes in is checked here, what goes out is described here."""

import math
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    SkipValidation,
    ValidationInfo,
    field_validator,
)
from pydantic_core import CoreSchema, core_schema

from app import vectors

MAX_BATCH = 1000
MAX_TOP_K = 1000
MAX_SEARCHES = 256
MAX_PAGE = 1000
MAX_TAG_CHARACTERS = 128
MAX_FILTER_VALUES = 100
MAX_METADATA_BYTES = 16 * 1024

# Unix seconds up to the year 5138: milliseconds, the usual slip, are refused.
MAX_TIME_S = 1e11


_TAG_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f]+$"
_AGENT_PATTERN = r"^[^{}\u0000-\u001f\u007f-\u009f]+$"
_CONSISTENCY_PATTERN = r"^(eventual|strong|[0-9a-f]{40}:[0-9]{1,20})$"

PATTERN_SENTENCES = {
    _TAG_PATTERN: "must not hold control characters",
    _AGENT_PATTERN: "must hold neither braces nor control characters",
    _CONSISTENCY_PATTERN: "must be eventual, strong, or the token of a write",
}
"""What a caller reads in place of a regular expression."""


class _VectorType:
    """Accepts an array of numbers or base64, yields little-endian float32 bytes."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        numbers = core_schema.list_schema(
            core_schema.float_schema(allow_inf_nan=False, strict=True), min_length=1
        )

        def parse(
            value: object, validate_numbers: core_schema.ValidatorFunctionWrapHandler
        ) -> bytes:
            if isinstance(value, str):
                return vectors.from_base64(value)
            return vectors.pack(validate_numbers(value))

        return core_schema.no_info_wrap_validator_function(
            parse,
            numbers,
            json_schema_input_schema=core_schema.union_schema(
                [numbers, core_schema.str_schema(pattern=r"^[A-Za-z0-9+/]+={0,2}$")]
            ),
        )


def _one_to_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _only_json_values(metadata: dict[str, Any]) -> dict[str, Any]:
    pending: list[Any] = [metadata]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError("must not hold NaN or infinity")
    try:
        size_bytes = len(orjson.dumps(metadata))
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise ValueError(f"must be JSON of at most 64-bit integers: {error}") from error
    if size_bytes > MAX_METADATA_BYTES:
        raise ValueError(f"may hold {MAX_METADATA_BYTES} bytes as JSON, got {size_bytes}")
    return metadata


Vector = Annotated[
    bytes,
    _VectorType,
    Field(
        description="As many numbers as the service's dimension: an array, or base64 of "
        "little-endian float32. Finite, not all zero."
    ),
]
Tag = Annotated[
    str,
    Field(min_length=1, max_length=MAX_TAG_CHARACTERS, pattern=_TAG_PATTERN),
]
AgentId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_TAG_CHARACTERS,
        pattern=_AGENT_PATTERN,
        description="The agent whose memory this is. Exact in case; no braces.",
    ),
]
TagList = Annotated[
    list[Tag],
    Field(min_length=1, max_length=MAX_FILTER_VALUES),
    BeforeValidator(_one_to_list, json_schema_input_type=Tag | list[Tag]),
]
Finite = Annotated[float, Field(allow_inf_nan=False)]
UnixTime = Annotated[
    float,
    Field(allow_inf_nan=False, ge=-MAX_TIME_S, le=MAX_TIME_S, description="Unix seconds, UTC."),
]
Metadata = Annotated[
    dict[str, Any],
    AfterValidator(_only_json_values),
    Field(description="Any JSON object; returned as it was given."),
]
MemoryType = Literal["PATTERN", "REGIME", "STRATEGY"]
MemoryTypeList = Annotated[
    list[MemoryType],
    Field(min_length=1),
    BeforeValidator(_one_to_list, json_schema_input_type=MemoryType | list[MemoryType]),
]
Cursor = Annotated[
    str,
    Field(min_length=1, max_length=512, description="The `next_cursor` of the page before."),
]
Consistency = Annotated[
    str,
    Field(
        pattern=_CONSISTENCY_PATTERN,
        description="eventual: any healthy node. strong: the master. A write's `token`: a node "
        "that has this write.",
    ),
]


class Request(BaseModel):
    """A request body: exact types, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


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
        description="When the reward was known, unix seconds. Unset: the moment of storing, so "
        "that no backtest sees it earlier.",
    )
    terminal: bool = False
    next_state_vector: Vector | None = None
    metadata: Metadata = Field(default_factory=dict)

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


class EpisodicConditions(Request):
    """Whose experiences, and which of them: all given conditions must hold."""

    agent_id: AgentId
    product_id: TagList | None = None
    regime: TagList | None = None
    action: TagList | None = None
    min_reward: Finite | None = Field(None, description="Bounds on the reward leave out open ones.")
    max_reward: Finite | None = None
    since: UnixTime | None = None
    until: UnixTime | None = None
    terminal: bool | None = None


class EpisodicSearch(EpisodicConditions):
    """The state an agent is in now, and which of its memories may answer."""

    state_vector: Vector
    top_k: int = Field(10, ge=1, le=MAX_TOP_K)
    scope: Literal["own", "others", "all"] = Field(
        "own", description="Whose memories: the agent's own, the other agents', or all."
    )
    max_distance: float | None = Field(
        None, ge=0, le=2, allow_inf_nan=False, description="Leave out hits farther than this."
    )
    exact: bool = Field(False, description="Compare with every memory, however long it takes.")
    include_vectors: bool = Field(False, description="Return the vectors too.")
    consistency: Consistency = "eventual"


class EpisodicSearchBatch(Request):
    """Up to 256 searches, answered in one round trip to Redis."""

    searches: list[Annotated[EpisodicSearch, SkipValidation]] = Field(
        min_length=1, max_length=MAX_SEARCHES
    )


class EpisodicWindow(EpisodicConditions):
    """Conditions that may be given relative to now."""

    hours: float | None = Field(
        None, gt=0, le=MAX_TIME_S / 3600, allow_inf_nan=False, description="Instead of `since`."
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
        None, description="When it was known, unix seconds. Unset: now."
    )
    terminal: bool | None = Field(None, description="Unset: as it was stored.")


class SemanticStore(Request):
    """One concept of the swarm: a pattern, a regime or a strategy."""

    id: Tag | None = Field(
        None, description="Your own id makes a repeated store safe. Unset: one is made."
    )
    memory_type: MemoryType
    regime_name: Tag
    concept_vector: Vector
    sharpe_ratio: Finite
    win_rate: float = Field(ge=0, le=1, allow_inf_nan=False)
    metadata: Metadata = Field(default_factory=dict)


class SemanticStoreBatch(Request):
    """Up to 1000 concepts. Each is checked and stored on its own."""

    memories: list[Annotated[SemanticStore, SkipValidation]] = Field(
        min_length=1, max_length=MAX_BATCH
    )


class SemanticConditions(Request):
    """Which of the swarm's concepts: all given conditions must hold."""

    memory_type: MemoryTypeList | None = None
    regime_name: TagList | None = None
    min_sharpe_ratio: Finite | None = None
    min_win_rate: Finite | None = None
    min_access_count: int | None = Field(None, ge=0)


class SemanticSearch(SemanticConditions):
    """A state or concept, and which of the swarm's concepts may answer."""

    concept_vector: Vector
    top_k: int = Field(10, ge=1, le=MAX_TOP_K)
    max_distance: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    exact: bool = False
    include_vectors: bool = False
    consistency: Consistency = "eventual"


class SemanticQuery(SemanticConditions):
    """Concepts in an order, page by page, without comparing vectors."""

    sort_by: Literal["sharpe_ratio", "win_rate", "access_count", "last_accessed", "created_at"] = (
        "sharpe_ratio"
    )
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
    state_vector: list[float] | None = Field(None, description="Only when asked for.")
    next_state_vector: list[float] | None = Field(None, description="Only when asked for.")


class EpisodicHit(EpisodicRecord):
    """One experience that a search found."""

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
    concept_vector: list[float] | None = Field(None, description="Only when asked for.")


class SemanticHit(SemanticRecord):
    """One concept that a search found."""

    distance: float = Field(description="Cosine distance: 0 the same, 2 opposite.")


class SearchAnswer(BaseModel):
    """How far an answer can be trusted, beside its memories."""

    count: int
    exact: bool = Field(description="True: no nearer memory exists.")
    partial: bool = Field(description="True: part of the memory could not be searched.")
    cached: bool
    served_by: str = Field(description="The Redis node that answered.")
    took_ms: float


class EpisodicAnswer(SearchAnswer):
    """The most similar experiences, nearest first."""

    memories: list[EpisodicHit]


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


class Closed(EpisodicRecord):
    """A memory with its outcome."""

    changed: bool = Field(description="False: this very outcome was known already.")
    token: str | None = Field(description="Null when nothing was written.")


class EpisodicStored(BaseModel):
    """A confirmed store."""

    id: str
    agent_id: str
    created: bool = Field(description="False: this very memory was there already.")
    token: str = Field(description="Give it as `consistency` to read this write on any node.")


class SemanticStored(BaseModel):
    """A confirmed store."""

    id: str
    created: bool
    token: str


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
