"""The report of a consolidation: what it did, or would do, and why."""

from typing import Literal

from pydantic import BaseModel, Field

from app.contract.fields import AgentId, Request, Tag, UnixTime

MAX_SAMPLE = 20

ChangeKind = Literal["create", "update", "unchanged"]


class Consolidation(Request):
    """Whose recent experiences to consolidate. Without agent and product, each agent's."""

    dry_run: bool = True
    agent_id: AgentId | None = None
    product_id: Tag | None = Field(None, description="All agents' experiences with this product.")
    since: UnixTime | None = Field(
        None, description="Unset: MEMORY_CONSOLIDATION_DAYS before `until`."
    )
    until: UnixTime | None = Field(None, description="What was known then. Unset: now.")


class PatternChange(BaseModel):
    """What happens to one pattern. `status_before` is None for a new one."""

    id: str
    owner: str
    regime_name: str
    change: ChangeKind
    status_before: str | None
    status: str
    reason: str
    n: int
    sharpe_ratio: float


class Consolidated(BaseModel):
    """The result of a run.

    `cut_owners` had more experiences than are read, so only the latest were used. `left_out` counts
    experiences in regimes or clusters too small for a pattern. `failed` counts regimes of an owner
    that were skipped because of an error; `failed_owners` names some.
    """

    dry_run: bool
    since: float
    until: float
    owners: int = 0
    experiences: int = 0
    left_out: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    promoted: int = 0
    deprecated: int = 0
    failed: int = 0
    failed_owners: list[str] = Field(default_factory=list)
    cut_owners: list[str] = Field(default_factory=list)
    sample: list[PatternChange] = Field(default_factory=list)

    def add(self, change: PatternChange) -> None:
        """Count a change, and keep some examples."""
        match change.change:
            case "create":
                self.created += 1
            case "update":
                self.updated += 1
            case "unchanged":
                self.unchanged += 1
                return
        if change.status != change.status_before:
            self.promoted += change.status == "promoted"
            self.deprecated += change.status == "deprecated"
        if len(self.sample) < MAX_SAMPLE:
            self.sample.append(change)
