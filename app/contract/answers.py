"""The public JSON contract of answers. Requests are in app/contract/requests.py."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.context import Durability
from app.contract.fields import WHOLE_SINCE, MemoryType, PastAnswer
from app.model import ArmName


class HorizonOutcome(BaseModel):
    """The outcome of a memory at one of several horizons."""

    horizon: str | float = Field(description="The name of the horizon, or its length.")
    reward: float = Field(description="The reward at this horizon.")
    outcome_at: float = Field(description="When this outcome became known, unix seconds.")
    mae: float | None = Field(None, description="The worst reward on the way; omitted if unknown.")
    mfe: float | None = Field(None, description="The best reward on the way; omitted if unknown.")
    mae_at: float | None = Field(None, description="When the worst was reached.")
    mfe_at: float | None = Field(None, description="When the best was reached.")
    recorded_at: float | None = Field(
        None, description="When the service was told; omitted if it came with the memory."
    )


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
    recorded_at: float | None = Field(
        None,
        description="When the service stored it, unix seconds. Omitted if a former release "
        "stored it, which did not record the time.",
    )
    quality: float | None = Field(None, description="Omitted if it has none.")
    quality_at: float | None = Field(
        None, description="When the quality was given; omitted if it came with the memory."
    )
    priority: float | None = Field(None, description="Omitted if it has none.")
    scale: float | None = Field(None, description="Omitted if it has none.")
    outcomes: list[HorizonOutcome] | None = Field(
        None, description="Outcomes at several horizons; omitted if there are none."
    )
    outcome_recorded_at: float | None = Field(
        None,
        description="When the service was told the outcome; omitted if it came with the memory.",
    )
    quality_recorded_at: float | None = Field(
        None, description="When the service was told the quality, if it was said to be earlier."
    )
    priority_recorded_at: float | None = Field(
        None, description="When the service was told the priority, if it was said to be earlier."
    )
    priority_at: float | None = Field(
        None, description="When the priority was last given; omitted if it came with the memory."
    )
    episode_id: str | None = Field(None, description="Omitted if it has none.")
    step: int | None = Field(None, description="Omitted if it has none.")
    state_vector: list[float] | None = Field(None, description="Only if requested.")
    next_state_vector: list[float] | None = Field(None, description="Only if requested.")


class EpisodicHit(EpisodicRecord):
    """One experience that a search found."""

    regime_step: Literal["asked", "other"] | None = Field(
        None,
        description="Whether it is of the requested regime or another; only with regime_policy.",
    )

    distance: float = Field(
        description="Cosine distance: 0 identical direction, 2 opposite. With `metric`: by that."
    )


class Change(BaseModel):
    """One experience that changed."""

    id: str
    op: Literal["put", "delete"]
    memory: EpisodicRecord | None = Field(
        None,
        description=("The experience as it is now, with its vectors; left out if it was deleted."),
    )


class Changes(BaseModel):
    """What changed in an agent's memory after a position, each experience once."""

    changes: list[Change]
    next: str = Field(description="The position after them, from which to ask next.")
    complete: bool = Field(description="True: nothing more had changed then.")
    retired_until: float | None = Field(
        None,
        description="When memories last retired, unix seconds; omitted if none ever did. A copy of "
        "the present memories lacks what a question as of an earlier moment finds.",
    )
    waited_s: float = Field(description="Seconds from the request's arrival until this was read.")


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
        description="How many searches found it before this answer. Null with `as_of`; such "
        "searches are not counted either. Hits of the last seconds from other service processes "
        "may be missing (MEMORY_ACCESS_FOLD_INTERVAL_S)."
    )
    last_accessed: float | None = Field(
        description="When a search last found it, unix seconds; null if none did."
    )
    concept_vector: list[float] | None = Field(None, description="Only if requested.")


class SemanticHit(SemanticRecord):
    """One concept that a search found."""

    distance: float = Field(description="Cosine distance: 0 identical direction, 2 opposite.")


class Explanation(BaseModel):
    """How an answer was found. The search bypassed the cache."""

    index: str | None = Field(description="The first index that was searched; null: none was.")
    searches: int = Field(description="How many indexes were searched.")
    algorithm: str = Field(
        description="FLAT compares with every vector; HNSW is approximate. METRIC: the service "
        "itself compared every vector, by a learned distance."
    )
    vector_type: str = Field(description="float16: the compared vectors are rounded.")
    exact: bool
    node: str = Field(description="The Redis node that answered.")
    group: str | None = Field(
        None, description="The group that holds the agent's memory; omitted with a single group."
    )
    batch_size: int = Field(description="How many searches went to Redis in the same round trip.")
    cache: Literal["bypassed"]
    stages_ms: dict[str, float] = Field(
        description="Milliseconds in each stage: parse (the body), waiting (for a batch), "
        "redis (the round trip), decode (the reply), total (until the answer was written)."
    )


class SearchAnswer(BaseModel):
    """How far an answer can be trusted, and how long it took."""

    count: int
    future_outcomes: int | None = Field(
        None,
        description=(
            "How many of these memories have an `outcome_at` later than now, in a question "
            "without `as_of`; omitted if none. These outcomes cannot be known yet: check "
            "their times."
        ),
    )
    exact: bool = Field(
        description="True if no nearer memory exists, judged by the vectors as stored "
        "(`vector_type` in /v1/stats)."
    )
    partial: bool = Field(description="True if part of the memory could not be searched.")
    unanswered_groups: list[str] | None = Field(
        None, description="Groups whose agents could not be searched; omitted if all answered."
    )
    whole_since: float | None = Field(None, description=WHOLE_SINCE)
    cached: bool
    served_by: str = Field(
        description="The Redis node that answered. process: the service itself, by `metric` or "
        "from a current copy of the agent's memory."
    )
    metric: str | None = Field(None, description="The learned distance searched by, if any.")
    took_ms: float
    explain: Explanation | None = Field(None, description="Only if requested.")


class RecallAnswer(SearchAnswer):
    """An answer by which the outcome of a decision can be counted."""

    recall_id: str | None = Field(
        None, description="Store what you do under this id; only with `recall`."
    )
    arm: ArmName | None = Field(
        None,
        description="What answered; only with `recall`. memory: your memory. no_memory: nothing, "
        "whatever your memory holds. placebo: your memory, but asked with another of your states: "
        "every word is true, and nothing of it is about the present state.",
    )


class EpisodicAnswer(RecallAnswer):
    """The most similar experiences, nearest first."""

    memories: list[EpisodicHit]
    found: int | None = Field(
        None, description="How many memories were examined, nearest first; only with `distinct`."
    )
    distinct: int | None = Field(
        None, description="How many of them are returned, as in `count`; only with `distinct`."
    )
    overlapping: int | None = Field(
        None,
        description=(
            "How many were left out because a nearer one of their product overlaps in "
            "time; only with `distinct`."
        ),
    )


class EpisodicDrawn(EpisodicRecord):
    """One experience that was drawn."""

    probability: float = Field(description="P: the probability of being drawn first.")
    weight: float = Field(
        description="Importance weight: (N P)^-beta, divided by the largest of all."
    )


class EpisodicSampled(PastAnswer):
    """Experiences in the order in which they were drawn."""

    memories: list[EpisodicDrawn]
    count: int
    population: int = Field(description="N: how many experiences could be drawn.")
    seed: int = Field(description="The seed that draws the same experiences again.")
    next_cursor: str | None = Field(
        description="Continues without repetition; null once all are drawn."
    )
    took_ms: float


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
    retryable: bool = Field(
        description="True if repeating this request can succeed and duplicates nothing."
    )
    field: str | None = None
    errors: list[FieldError] | None = None
    request_id: str | None = None
    id: str | None = Field(
        None,
        description="The id that the service made for a store without one, if that store may "
        "have happened: repeat the store with this id.",
    )
    partial: Literal[True] | None = Field(None, description="With `whole_since`.")
    whole_since: float | None = Field(None, description=WHOLE_SINCE)


class SearchAnswered(EpisodicAnswer):
    """The answer to one search of a batch."""

    kind: Literal["answer"] = Field(description="Distinguishes an answer from a problem.")


class SearchProblem(Problem):
    """Why one search of a batch has no answer."""

    kind: Literal["problem"] = Field(description="Distinguishes an answer from a problem.")


class EpisodicSearchResults(BaseModel):
    """An answer or a problem for each search, in order."""

    results: list[Annotated[SearchAnswered | SearchProblem, Field(discriminator="kind")]]


class Liveness(BaseModel):
    """The process is running."""

    status: Literal["ok"] = Field(description="Always ok.")


class PartState(BaseModel):
    """The state of one part; parts may have further fields of their own."""

    model_config = ConfigDict(extra="allow")

    status: str = Field(description="ok, failed, or a word specific to the part.")
    detail: str | None = Field(None, description="Why it is not ok.")


class Readiness(BaseModel):
    """Whether the service can do its work, part by part."""

    status: Literal["ok", "degraded", "failed"] = Field(
        description="degraded: requests are answered, although a part is not ok."
    )
    parts: dict[str, PartState] = Field(description="Each Redis node, and each other part.")


class EpisodicPage(PastAnswer):
    """One page of experiences."""

    memories: list[EpisodicRecord]
    total: int = Field(description="All matches, on this page or not.")
    next_cursor: str | None = Field(description="Null on the last page.")


class SemanticPage(BaseModel):
    """One page of concepts."""

    memories: list[SemanticRecord]
    total: int = Field(description="All matches, on this page or not.")
    next_cursor: str | None = Field(description="Null on the last page.")


class Deleted(BaseModel):
    """What a deletion by filter found and removed."""

    matched: int
    deleted: int
    remaining: int = Field(
        description="Matches that still exist: all of them in a dry run; otherwise the time "
        "for one call ran out, so call again."
    )
    durability: Durability = Field(description="The durability that the write reached.")


class ChangeAcknowledged(BaseModel):
    """The answer to a change by a caller who must send `as_of`.

    It shows nothing of the memory, whose present may lie in the caller's future.
    """

    id: str
    changed: bool = Field(description="False if nothing had to be written.")
    token: str | None = Field(description="Null if nothing was written.")
    durability: Durability = Field(description="The durability that the write reached.")


class Closed(EpisodicRecord):
    """A memory with its outcome."""

    changed: bool = Field(description="False if the same outcome was already known.")
    token: str | None = Field(description="Null if nothing was written.")
    durability: Durability = Field(description="The durability that the write reached.")


class Rated(EpisodicRecord):
    """A memory with its ratings."""

    changed: bool = Field(description="False if it already had these ratings.")
    token: str | None = Field(description="Null if nothing was written.")


class Prioritized(BaseModel):
    """The result of new priorities. Memories that are not counted already had theirs."""

    changed: int = Field(description="How many priorities changed.")
    missing: list[str] = Field(description="Ids without a memory.")
    token: str | None = Field(description="Null if nothing was written.")
    durability: Durability = Field(description="The durability that the write reached.")


class EpisodicStored(BaseModel):
    """A confirmed store."""

    id: str
    agent_id: str
    created: bool = Field(description="False if this same memory was already stored.")
    token: str = Field(description="Pass it as `consistency` to read this write on any node.")
    durability: Durability = Field(description="The durability that the write reached.")


class SemanticStored(BaseModel):
    """A confirmed store."""

    id: str
    created: bool
    token: str
    durability: Durability = Field(description="The durability that the write reached.")


class SemanticPatched(SemanticRecord):
    """A concept as it is now."""

    token: str
    durability: Durability = Field(description="The durability that the write reached.")


class BatchResult(BaseModel):
    """The result for one memory of a batch."""

    index: int
    id: str | None = Field(description="Of a memory that is not stored: the id that was sent.")
    status: Literal["created", "unchanged", "error"]
    error: Problem | None = None


class BatchStored(BaseModel):
    """The result of a batch. `token` is null if nothing was written."""

    results: list[BatchResult]
    created: int
    failed: int
    token: str | None
    durability: Durability = Field(description="The durability that the write reached.")
