"""The public JSON of the routes for those who run the service."""

from typing import Literal

from pydantic import BaseModel, Field

from app.records import IndexKind
from app.settings import VectorType


class AgentStats(BaseModel):
    """One agent's memories. Counts are null while its index is missing."""

    agent_id: str
    memories: int | None = Field(description="Memories that searches can find.")
    open_memories: int | None = Field(description="Those stored without a reward.")
    hash_bytes: int | None = Field(
        description="Estimated bytes of the stored memories, vectors included: the mean of the "
        "sampled ones times `memories`."
    )
    sampled_hashes: int = Field(description="Memories whose size was asked of Redis, 5 at most.")
    index: str = Field(description="The index that holds them, by `name` in `indexes`.")


class SemanticStats(BaseModel):
    """The swarm's concepts."""

    memories: int | None
    hash_bytes: int | None
    sampled_hashes: int
    index: str


class IndexStats(BaseModel):
    """One index. Sizes are bytes. While it is missing there is nothing more to say of it."""

    name: str
    status: Literal["ready", "building", "missing"] = Field(
        description="building: searches wait for it. missing: the next store or search makes it."
    )
    algorithm: str | None = Field(
        None, description="FLAT compares with every vector, HNSW does not."
    )
    moving_to: str | None = Field(
        None, description="The algorithm of an index that is built beside this one to replace it."
    )
    moving_progress: float | None = Field(
        None, description="Share of the memories that the other index holds, 0 to 1."
    )
    dimension: int | None = None
    documents: int | None = None
    progress: float | None = Field(
        None, description="Share of the stored memories that is indexed, 0 to 1."
    )
    failures: int | None = Field(None, description="Hashes that the index could not take.")
    vector_bytes: int | None = None
    total_bytes: int | None = Field(
        None, description="Vectors and everything else of the index; the hashes are not in it."
    )


class RecallStats(BaseModel):
    """How hard approximate searches of one kind of index try, and how much they find.

    It is of the worker process that answers, since it started.
    """

    index_kind: IndexKind
    ef_runtime: int = Field(description="Candidates that a search keeps.")
    recall_at_k: float | None = Field(
        description="Mean share of the true neighbours that was found, by `samples`."
    )
    latency_ms: float | None = Field(description="Median time of these searches.")
    samples: int = Field(description="Comparisons at this `ef_runtime`; the latest 100 count.")
    bound_by: Literal["too_few_samples", "recall_target", "latency_budget", "ceiling"] = Field(
        description="Why `ef_runtime` is what it is: the target is reached, a higher one would "
        "take too long, or there is no higher one."
    )


class StatsTotals(BaseModel):
    """Sums over all agents and indexes, whatever page is shown."""

    agents: int
    memories: int
    open_memories: int
    concepts: int
    hash_bytes: int
    indexes: int
    index_bytes: int
    index_failures: int
    measured_at: float = Field(
        description="Unix seconds. A little in the past where counting takes longer than 0.1 s: "
        "such totals are kept for 20 times as long as they took."
    )


class Stats(BaseModel):
    """What is stored, how it is indexed and what it takes."""

    layout: str
    dimension: int
    vector_type: VectorType = Field(
        description="How vectors are stored and compared. float16: rounded to 11 bits, so that "
        "distances are off by up to 0.001."
    )
    totals: StatsTotals
    agents: list[AgentStats]
    semantic: SemanticStats
    indexes: list[IndexStats] = Field(description="The indexes of this page, and the semantic one.")
    recall: list[RecallStats] = Field(description="Of the kinds that have HNSW indexes here.")
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page.")
