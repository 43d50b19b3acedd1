"""The public JSON contract of statistics: what is stored, and how it is indexed."""

from typing import Literal

from pydantic import BaseModel, Field

from app.model import IndexKind
from app.settings import VectorType


class AgentStats(BaseModel):
    """One agent's memories. Counts are null while its index is missing or being built."""

    agent_id: str
    memories: int | None = Field(description="Memories that searches can find.")
    open_memories: int | None = Field(description="Memories stored without a reward.")
    retired_memories: int = Field(
        description="Memories that retention removed, which only questions as of an earlier moment "
        "find. No other figure counts them."
    )
    hash_bytes: int | None = Field(
        description="Estimated bytes of the stored memories, vectors included: the sample's "
        "mean times `memories`."
    )
    sampled_hashes: int = Field(
        description="How many memories the size estimate sampled, at most 5."
    )
    index: str = Field(description="The index that holds them, by its `name` in `indexes`.")


class SemanticStats(BaseModel):
    """The swarm's concepts."""

    memories: int | None
    hash_bytes: int | None
    sampled_hashes: int
    index: str


class IndexStats(BaseModel):
    """One index. Sizes are in bytes. A missing index has only a name and a status."""

    name: str
    status: Literal["ready", "building", "missing"] = Field(
        description="building: searches wait for it. missing: the next store or search creates it."
    )
    algorithm: str | None = Field(
        None, description="FLAT compares with every vector, HNSW does not."
    )
    moving_to: str | None = Field(
        None, description="The algorithm of the index that is being built to replace this one."
    )
    moving_progress: float | None = Field(
        None, description="Share of the memories that the new index holds, 0 to 1."
    )
    dimension: int | None = None
    documents: int | None = None
    progress: float | None = Field(
        None, description="Share of the stored memories that are indexed, 0 to 1."
    )
    failures: int | None = Field(None, description="Hashes that could not be indexed.")
    vector_bytes: int | None = None
    total_bytes: int | None = Field(
        None, description="Vectors and all other parts of the index, without the hashes."
    )


class RecallStats(BaseModel):
    """The effort of approximate searches on one kind of index, and their recall.

    The values are those of the worker process that answers, since it started.
    """

    index_kind: IndexKind
    ef_runtime: int = Field(description="How many candidates a search keeps.")
    recall_at_k: float | None = Field(
        description="Mean share of the true neighbours that was found, over `samples`."
    )
    latency_ms: float | None = Field(description="Median duration of these searches.")
    samples: int = Field(description="Comparisons at this `ef_runtime`; the latest 100 count.")
    bound_by: Literal["too_few_samples", "recall_target", "latency_budget", "ceiling"] = Field(
        description="Why `ef_runtime` has its value: too few samples yet, the target is "
        "reached, a higher one would take too long, or there is no higher one."
    )


class StatsTotals(BaseModel):
    """Sums over all agents and indexes, not only those of this page."""

    agents: int
    uncounted_agents: int = Field(
        description="Not in the sums: their index is missing or being built, or their group away."
    )
    memories: int
    open_memories: int
    concepts: int
    hash_bytes: int
    indexes: int
    index_bytes: int
    index_failures: int
    measured_at: float = Field(
        description="Unix seconds. Slightly in the past if counting takes longer than 0.1 s: "
        "such totals are kept for 20 times as long as they took."
    )


class Stats(BaseModel):
    """What is stored, how it is indexed, and how much memory it takes."""

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
    recall: list[RecallStats] = Field(description="Only kinds of index that use HNSW here.")
    next_cursor: str | None = Field(description="Pass it as `cursor` to get the next page.")
    partial: bool = Field(description="True if the agents of some groups are missing.")
    unanswered_groups: list[str] = Field(description="The groups that did not answer.")
