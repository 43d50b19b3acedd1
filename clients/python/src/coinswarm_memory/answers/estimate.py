"""What to expect of each action."""

from collections.abc import Iterator
from typing import Literal

import msgspec


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of an action over all memories that match the filter, similar or not."""

    value: float
    stdev: float | None
    loss_probability: float
    q05: float
    q95: float
    n: int


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """Where the outcome lies with probability `level`; `method` cqr: corrected by the past."""

    level: float
    low: float
    high: float
    method: str
    n: int
    coverage: float | None = None


class ActionEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one action in the moments found, weighted by their similarity.

    Rewards are in the unit in which they were stored. What the service leaves out is None.
    `pending`: the service is still computing the past estimates that correct `interval` and the
    shrunk values; ask again in a second.
    """

    action: str | None
    count: int
    value: float
    stdev: float | None = None
    q05: float | None = None
    q50: float | None = None
    q95: float | None = None
    win_rate: float | None = None
    loss_probability: float | None = None
    effective_n: float
    nearest_distance: float | None = None
    independent_n: float | None = None
    standard_error: float | None = None
    value_low: float | None = None
    value_high: float | None = None
    baseline: Baseline | None = None
    shrunk_value: float | None = None
    shrunk_loss_probability: float | None = None
    shrinkage: float | None = None
    interval: Interval | None = None
    pending: bool = False


class CalibrationFigure(msgspec.Struct, frozen=True):
    """A statistic with its 95 % interval. None: too little is known."""

    value: float | None
    low: float | None
    high: float | None


class ReliabilityBin(msgspec.Struct, frozen=True):
    """Past estimates with about the same chance of a loss: their mean, and the share that lost."""

    predicted: float
    observed: float
    count: int


class CalibrationSkill(msgspec.Struct, frozen=True):
    """Skill against the baseline: above 0, similar moments predict better than all moments."""

    brier: CalibrationFigure
    mse: CalibrationFigure


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """How well an agent's past estimates matched the outcomes."""

    agent_id: str
    as_of: float | None
    n: int
    level: float
    coverage: CalibrationFigure
    ece: CalibrationFigure
    slope: CalibrationFigure
    reliability: list[ReliabilityBin]
    skill: CalibrationSkill


class Actions(msgspec.Struct, frozen=True):
    """The actions in the service's order; read one by its position or by its name."""

    ranked: list[ActionEstimate]

    def __len__(self) -> int:
        return len(self.ranked)

    def __iter__(self) -> Iterator[ActionEstimate]:
        return iter(self.ranked)

    def __contains__(self, action: object) -> bool:
        return any(found.action == action for found in self.ranked)

    def __getitem__(self, which: int | str) -> ActionEstimate:
        if isinstance(which, int):
            return self.ranked[which]
        for found in self.ranked:
            if found.action == which:
                return found
        raise KeyError(which)


class _EstimateReply(msgspec.Struct, frozen=True, kw_only=True):
    actions: list[ActionEstimate]
    novelty: float | None = None
    confidence: float | None = None
    memories: list[str] = []
    exact: bool
    partial: bool
    cached: bool = False
    served_by: str
    took_ms: float
    found: int | None = None
    distinct: int | None = None
    overlapping: int | None = None
    future_outcomes: int | None = None
    recall_id: str | None = None
    arm: Literal["memory", "no_memory", "placebo"] | None = None
    metric: str | None = None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What similar moments say of each action. `memories` are the ids that it comes from.

    `recall_id` and `arm` are there if they were asked for: store what you do under that id, and
    mind what answered. `metric` is the learned distance that was searched by, if any.
    """

    actions: Actions
    novelty: float | None
    confidence: float | None
    memories: list[str]
    exact: bool
    partial: bool
    cached: bool
    served_by: str
    took_ms: float
    found: int | None = None
    distinct: int | None = None
    overlapping: int | None = None
    future_outcomes: int | None = None
    recall_id: str | None = None
    arm: Literal["memory", "no_memory", "placebo"] | None = None
    metric: str | None = None

    def best(self) -> ActionEstimate | None:
        """Return the action that the service ranks first. Returns None when none was found."""
        return self.actions[0] if len(self.actions) else None


def read_estimate(body: bytes) -> Estimate:
    """Return the estimate in a reply's body."""
    reply = msgspec.json.decode(body, type=_EstimateReply)
    fields = {name: getattr(reply, name) for name in reply.__struct_fields__}
    return Estimate(**{**fields, "actions": Actions(reply.actions)})
