"""The public JSON contract of learned distances."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from app.contract.fields import (
    WHOLE_SINCE,
    AgentId,
    AsOf,
    Horizon,
    Request,
    Tag,
    TagList,
    UnixTime,
)
from app.contract.jobs import AskedJob

MAX_NAMES = 65_536
MAX_TOLD = 32


class LearnDistance(Request):
    """From whose outcomes a distance is learned, and up to which moment."""

    agent_id: AgentId
    as_of: AsOf | None = None
    since: UnixTime | None = Field(None, description="Memories from this timestamp on.")
    until: UnixTime | None = Field(None, description="Memories up to this timestamp.")
    action: Tag | None = Field(
        None, description="Of this action; unset: of all, whose rewards are then one."
    )
    product_id: TagList | None = None
    regime: TagList | None = None
    horizon: Horizon | None = Field(None, description="Of the outcomes; unset: the primary ones.")
    scaled: bool = Field(
        False, description="Rewards in units of each memory's `scale`; 1 where it has none."
    )
    names: list[Annotated[str, Field(max_length=128)]] | None = Field(
        None,
        min_length=1,
        max_length=MAX_NAMES,
        description="What the numbers of a state are called, in order, as their encoder knows.",
    )

    @model_validator(mode="after")
    def _period_is_not_empty(self) -> Self:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError("since must not be after until")
        return self


class DistanceFeature(BaseModel):
    """One number of a state, and what it says of the reward."""

    index: int = Field(description="Its place in a state, from 0.")
    name: str | None = Field(description="As the request named it.")
    weight: float = Field(description="Its share of all weight.")
    linear: float = Field(
        description="By how much the reward grows with one standard deviation of it."
    )
    squared: float = Field(description="The same of its square: both far ends pay alike.")


class Distance(BaseModel):
    """A distance that was learned from an agent's outcomes."""

    id: str = Field(description="Name it as `metric` to search by it.")
    agent_id: str = Field(description="The agent whose outcomes taught it.")
    created_at: float = Field(description="When the service learned it, unix seconds.")
    known_at: float = Field(
        description="It rests on what was known then: a question as of an earlier moment is "
        "refused."
    )
    memories: int = Field(description="Memories that taught it; no two of a product overlap.")
    explained: float = Field(
        description="The share of the rewards' variance that was predicted in blocks of time left "
        "out."
    )
    mattering: int = Field(description="How many numbers of a state count.")
    features: list[DistanceFeature] = Field(description="Those that count, the heaviest first.")
    promoted: bool = Field(description="Whether the swarm goes by it now.")
    whole_since: float | None = Field(None, description=WHOLE_SINCE)


class WholeDistance(Distance):
    """A distance with its definition: half the sum of weight ((a - b) / spread)^2."""

    weights: list[float] = Field(description="Of each number; together 1.")
    spread: list[float] = Field(
        description="The standard deviation of each number in the memories it was learned from; "
        "one of 0 does not count."
    )


class DistanceFit(AskedJob):
    """A distance that is being learned, or has been."""

    memories: int | None = Field(
        None, description="Memories that taught it; no two of a product overlap."
    )
    explained: float | None = Field(
        None, description="The share of the rewards' variance that was predicted; see `distance`."
    )
    distance: WholeDistance | None = Field(
        None, description="Null once done: no number of a state says anything of the reward."
    )


class Distances(BaseModel):
    """An agent's learned distances, the latest first."""

    distances: list[Distance] = Field(description="Without their weights.")


class Promote(Request):
    """The proof that a distance helps."""

    evaluation_id: str = Field(
        min_length=1,
        max_length=64,
        description="An evaluation with this `metric` that is done and says `helps`. It asked "
        "only what came after the distance was learned.",
    )


class DistancePromoted(BaseModel):
    """What the swarm goes by from now on, where a question says `metric: promoted`."""

    id: str = Field(description="The distance.")
    promoted: bool = Field(description="Whether the swarm goes by it from now on.")
    at: float = Field(description="From when on, unix seconds: a question as of earlier does not.")


class DistanceDeleted(BaseModel):
    """A distance that is forgotten, or whose learning is cancelled."""

    id: str = Field(description="The distance.")
    deleted: Literal[True] = Field(True, description="It can no longer be searched by.")
