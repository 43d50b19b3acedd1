"""Distances that were learned from an agent's outcomes."""

import msgspec

from coinswarm_memory.answers.jobs import AskedJob


class DistanceFeature(msgspec.Struct, frozen=True, kw_only=True):
    """One number of a state, and what it says of the reward.

    `weight` is its share of all weight. `linear` and `squared`: by how much the reward grows with
    one standard deviation of it, and of its square.
    """

    index: int
    name: str | None = None
    weight: float
    linear: float
    squared: float


class Distance(msgspec.Struct, frozen=True, kw_only=True):
    """A learned distance. Its `id` is the `metric` of questions, as of `known_at` or later.

    `explained`: the share of the rewards' variance that was predicted in blocks of time left out.
    `mattering`: how many numbers of a state count. `features`: the heaviest of them. `whole_since`:
    some of what was known before then was purged.
    """

    id: str
    agent_id: str
    created_at: float
    known_at: float
    memories: int
    explained: float
    mattering: int
    features: list[DistanceFeature]
    promoted: bool
    whole_since: float | None = None


class WholeDistance(Distance, frozen=True, kw_only=True):
    """A distance with its definition: half the sum of weight ((a - b) / spread)^2.

    `weights` and `spread` have one entry for each number of a state.
    """

    weights: list[float]
    spread: list[float]


class DistanceFit(AskedJob, frozen=True, kw_only=True):
    """A distance that is being learned, or has been.

    `distance` is None once it is done if no number of a state says anything of the reward.
    """

    memories: int | None = None
    explained: float | None = None
    distance: WholeDistance | None = None


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """What `metric="promoted"` means from `at` on, unix seconds."""

    id: str
    promoted: bool
    at: float
