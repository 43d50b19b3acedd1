"""A PATTERN memory made from a cluster: its content, its reward statistics, and its status.

Patterns are promoted and deprecated by a table of transitions.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat, StrictStr, ValidationError

from app.contract.fields import MAX_METADATA_BYTES
from app.memory.consolidation.clustering import Vectors
from app.memory.consolidation.evidence import LaterEvidence, independent_rewards
from app.settings import Settings
from app.storage.samples import Episode

DIGITS = 12
"""Sums in different order differ in the last digits; that does not count as a change."""


RESIDUE = 1e-14
"""Rewards that differ by less than this fraction of the largest are equal up to floating-point
error."""


class RewardStatistics(BaseModel):
    """Statistics of the rewards of closed memories, in the agent's own unit.

    `sharpe_ratio` is the mean divided by the sample standard deviation, per memory and not
    annualised; 0 if all rewards are equal, because there is no deviation to divide by.
    """

    n: int = Field(ge=1)
    mean_reward: FiniteFloat
    stdev_reward: float = Field(ge=0, allow_inf_nan=False)
    win_rate: float = Field(ge=0, le=1)
    sharpe_ratio: FiniteFloat
    q05_reward: FiniteFloat
    q95_reward: FiniteFloat


def statistics_of(episodes: Sequence[Episode]) -> RewardStatistics:
    """Return the statistics of at least one memory.

    Raise ValueError for rewards whose deviation exceeds a float.
    """
    rewards = np.array([episode.reward for episode in episodes], np.float64)
    # A power of two takes no digit away, and sums and squares stay in the range of a float.
    exponent = int(np.frexp(np.abs(rewards).max())[1])
    scaled = np.ldexp(rewards, -exponent)
    mean, stdev = _moments(scaled)
    q05, q95 = (_quantile(np.sort(scaled), share) for share in (0.05, 0.95))
    try:
        return RewardStatistics(
            n=len(rewards),
            mean_reward=_rounded(math.ldexp(mean, exponent)),
            stdev_reward=_rounded(math.ldexp(stdev, exponent)),
            win_rate=_rounded(int((rewards > 0).sum()) / len(rewards)),
            sharpe_ratio=_rounded(mean / stdev) if stdev > 0 else 0.0,
            q05_reward=_rounded(math.ldexp(q05, exponent)),
            q95_reward=_rounded(math.ldexp(q95, exponent)),
        )
    except OverflowError as error:
        raise ValueError("the rewards are too large for a standard deviation") from error


def _moments(rewards: NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and sample deviation; 0 for rewards that differ only in their last digits."""
    least, largest = float(rewards.min()), float(rewards.max())
    if len(rewards) == 1 or largest - least <= RESIDUE * max(-least, largest):
        return min(max(math.fsum(rewards) / len(rewards), least), largest), 0.0
    first = math.fsum(rewards) / len(rewards)
    residue = math.fsum(rewards - first) / len(rewards)
    squares = math.fsum((rewards - first) ** 2) - len(rewards) * residue * residue
    mean = min(max(first + residue, least), largest)
    return mean, math.sqrt(max(0.0, squares) / (len(rewards) - 1))


def _quantile(ascending: NDArray[np.float64], share: float) -> float:
    """Return the quantile, interpolated linearly between two rewards and never outside them."""
    place = share * (len(ascending) - 1)
    below = int(place)
    low, high = float(ascending[below]), float(ascending[min(below + 1, len(ascending) - 1)])
    return min(max(low + (high - low) * (place - below), low), high)


def by_action(episodes: Sequence[Episode]) -> dict[str, RewardStatistics]:
    """Return the statistics of each action that was taken, by name."""
    actions = sorted({episode.action for episode in episodes if episode.action is not None})
    return {
        action: statistics_of([episode for episode in episodes if episode.action == action])
        for action in actions
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


class Status(StrEnum):
    """How far a pattern may be relied on."""

    CANDIDATE = "candidate"
    PROMOTED = "promoted"
    DEPRECATED = "deprecated"


class Trend(StrEnum):
    """What a pattern's newest memories say about it."""

    STRONG = "strong"
    WEAK = "weak"
    FALLEN = "fallen"
    GONE = "gone"


def trend_of(
    statistics: RewardStatistics,
    promoted_sharpe_ratio: float | None,
    evidence: LaterEvidence,
    settings: Settings,
) -> Trend:
    """Return what a cluster says about its pattern.

    A pattern with enough memories, a high enough Sharpe ratio and `evidence` from after it was
    found is strong. One whose Sharpe ratio is too far below that at its promotion has fallen;
    `promoted_sharpe_ratio` is None if it never was promoted.
    """
    sharpe_ratio = statistics.sharpe_ratio
    fall = settings.consolidation_deprecate_fall
    if promoted_sharpe_ratio is not None and sharpe_ratio < promoted_sharpe_ratio - fall:
        return Trend.FALLEN
    has_support = statistics.n >= settings.consolidation_promote_memories and evidence.holds
    is_high = sharpe_ratio >= settings.consolidation_promote_sharpe_ratio
    return Trend.STRONG if has_support and is_high else Trend.WEAK


TRANSITIONS = {
    (Status.CANDIDATE, Trend.STRONG): Status.PROMOTED,
    (Status.CANDIDATE, Trend.WEAK): Status.CANDIDATE,
    (Status.CANDIDATE, Trend.FALLEN): Status.DEPRECATED,
    (Status.CANDIDATE, Trend.GONE): Status.DEPRECATED,
    (Status.PROMOTED, Trend.STRONG): Status.PROMOTED,
    (Status.PROMOTED, Trend.WEAK): Status.PROMOTED,  # until it has fallen
    (Status.PROMOTED, Trend.FALLEN): Status.DEPRECATED,
    (Status.PROMOTED, Trend.GONE): Status.DEPRECATED,
    (Status.DEPRECATED, Trend.STRONG): Status.PROMOTED,
    (Status.DEPRECATED, Trend.WEAK): Status.DEPRECATED,
    (Status.DEPRECATED, Trend.FALLEN): Status.DEPRECATED,
    (Status.DEPRECATED, Trend.GONE): Status.DEPRECATED,
}


SOURCE = "consolidation"
"""`metadata.source` of the patterns made here; no others are ever changed."""

ID_PREFIX = "pattern-"
_OWN_ID = re.compile(rf"{ID_PREFIX}[0-9a-f]{{32}}")

MAX_IDS_BYTES = 8 * 1024
"""Limit for the ids of a pattern's memories, nearest to its centre first; also limited by the room
in the metadata."""

MAX_ACTIONS_BYTES = 4 * 1024
"""Limit for the statistics of a pattern's actions, most frequent first. Free-text actions may be as
many as memories."""

SPARE_BYTES = 512
"""Metadata bytes reserved for status, reason, and the number of omitted actions."""

SAME_CENTRE = 1e-6
"""Cosine distance below which a centre has not moved; k-means sums in no fixed order."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose experiences were clustered: one agent's, or all agents' with one product."""

    agent_id: str | None = None
    product_id: str | None = None

    @property
    def name(self) -> str:
        """Return the name shown in reports."""
        return self.agent_id or str(self.product_id)

    def metadata(self) -> dict[str, str]:
        """Return the one of the two that is set, as metadata."""
        given = {"agent_id": self.agent_id, "product_id": self.product_id}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern as it is stored, or as it should be. `centre` has length one.

    `status_reason` explains the status.
    """

    id: str
    regime: str
    centre: Vectors
    statistics: RewardStatistics
    metadata: dict[str, Any]

    @property
    def status(self) -> Status:
        """Return how far it may be relied on."""
        return Status(self.metadata["status"])

    @property
    def trials(self) -> int:
        """Return how many clusters had been tried for its owner when it was written."""
        found = self.metadata.get("trials", 1)
        return found if isinstance(found, int) else 1

    def is_same(self, other: "Pattern") -> bool:
        """Return whether nothing that is stored would change."""
        distance = float(1 - np.dot(self.centre, other.centre))
        return distance < SAME_CENTRE and (self.statistics, self.metadata) == (
            other.statistics,
            other.metadata,
        )


def made_of(
    episodes: Sequence[Episode],
    centre: Vectors,
    *,
    owner: Owner,
    former: Pattern | None,
    settings: Settings,
    evidence: LaterEvidence,
) -> Pattern:
    """Return a cluster's pattern, its memories nearest first. It continues `former`, if any."""
    statistics = statistics_of(episodes)
    before = Status.CANDIDATE if former is None else former.status
    promoted_at = None if former is None else former.metadata.get("promoted_sharpe_ratio")
    finding = trend_of(statistics, promoted_at, evidence, settings)
    status = TRANSITIONS[before, finding]
    if status is Status.PROMOTED and before is not Status.PROMOTED:
        promoted_at = statistics.sharpe_ratio
    regime = episodes[0].regime
    return Pattern(
        id=new_pattern_id(owner, regime, episodes) if former is None else former.id,
        regime=regime,
        centre=centre,
        statistics=statistics,
        # What others have written beside it stays.
        metadata=_metadata(episodes, statistics, owner, {} if former is None else former.metadata)
        | {
            "status": status.value,
            "status_reason": _reason(finding, statistics, promoted_at, evidence),
            "independent_n": len(independent_rewards(episodes)),
            "later": {
                name: _rounded(value) if isinstance(value, float) else value
                for name, value in evidence.model_dump().items()
            },
            "trials": evidence.trials,
        }
        | ({} if promoted_at is None else {"promoted_sharpe_ratio": promoted_at}),
    )


def without_memories(former: Pattern) -> Pattern:
    """Return a pattern that no cluster is near any more. Its statistics stay as they were."""
    status = TRANSITIONS[former.status, Trend.GONE]
    reason = "no cluster of the recent memories is near"
    changed = former.metadata | {"status": status.value, "status_reason": reason}
    return Pattern(former.id, former.regime, former.centre, former.statistics, changed)


def new_pattern_id(owner: Owner, regime: str, episodes: Sequence[Episode]) -> str:
    """Return an id that depends on the memories only: two concurrent runs make one pattern."""
    members = sorted([episode.agent_id, episode.id] for episode in episodes)
    content = orjson.dumps([owner.metadata(), regime, members], option=orjson.OPT_SORT_KEYS)
    return f"{ID_PREFIX}{hashlib.sha256(content).hexdigest()[:32]}"


def stored_pattern(record: Mapping[str, Any], centre: Vectors) -> tuple[Owner, Pattern] | None:
    """Return a concept's owner and pattern. None if it was not made here.

    `centre` has length one. The source in the metadata is not sufficient, because anybody can write
    it.
    """
    if _OWN_ID.fullmatch(record["id"]) is None or record["metadata"].get("source") != SOURCE:
        return None
    figures = {name: record[name] for name in ("sharpe_ratio", "win_rate")}
    try:
        made = _Made.model_validate(record["metadata"])
        statistics = RewardStatistics.model_validate({**record["metadata"], **figures})
    except ValidationError:
        return None
    if (made.agent_id is None) == (made.product_id is None):
        return None
    metadata = dict(record["metadata"])
    pattern = Pattern(record["id"], record["regime_name"], centre, statistics, metadata)
    return Owner(made.agent_id, made.product_id), pattern


class _Made(BaseModel):
    """The metadata of a pattern made here, besides its statistics."""

    agent_id: StrictStr | None = None
    product_id: StrictStr | None = None
    status: Status
    promoted_sharpe_ratio: FiniteFloat | None = None


def _metadata(
    episodes: Sequence[Episode],
    statistics: RewardStatistics,
    owner: Owner,
    former: Mapping[str, Any],
) -> dict[str, Any]:
    own = statistics.model_dump(exclude={"sharpe_ratio", "win_rate"})
    times = [episode.timestamp for episode in episodes]
    actions, left_out = _actions(episodes)
    metadata = {
        **former,
        "source": SOURCE,
        **owner.metadata(),
        **own,
        "actions": actions,
        "first_timestamp": min(times),
        "last_timestamp": max(times),
        "episodes": [],
    }
    metadata.pop("other_actions", None)
    if left_out:
        metadata["other_actions"] = left_out
    room = MAX_METADATA_BYTES - SPARE_BYTES - len(orjson.dumps(metadata))
    metadata["episodes"] = _named(episodes, min(MAX_IDS_BYTES, room))
    return metadata


def _actions(episodes: Sequence[Episode]) -> tuple[dict[str, Any], int]:
    """Return the statistics of the most frequent actions, by name, and the number of the others."""
    found = by_action(episodes)
    shown: dict[str, Any] = {}
    size_bytes = 0
    for name in sorted(found, key=lambda name: (-found[name].n, name)):
        one = found[name].model_dump()
        size_bytes += len(orjson.dumps({name: one}))
        if size_bytes > MAX_ACTIONS_BYTES:
            break
        shown[name] = one
    return dict(sorted(shown.items())), len(found) - len(shown)


def _named(episodes: Sequence[Episode], at_most_bytes: int) -> list[dict[str, str]]:
    named: list[dict[str, str]] = []
    size_bytes = 0
    for episode in episodes:
        entry = {"agent_id": episode.agent_id, "id": episode.id}
        size_bytes += len(orjson.dumps(entry)) + 1
        if size_bytes > at_most_bytes:
            break
        named.append(entry)
    return named


def _reason(
    finding: Trend,
    statistics: RewardStatistics,
    promoted_sharpe_ratio: float | None,
    evidence: LaterEvidence,
) -> str:
    figures = f"{statistics.n} memories with a Sharpe ratio of {statistics.sharpe_ratio:.3g}"
    if finding is Trend.FALLEN:
        return f"{figures}, fallen from {promoted_sharpe_ratio:.3g} at its promotion"
    later = (
        f"after it was found, {evidence.independent_n} independent outcomes with "
        f"{evidence.sharpe_ratio:.3g}, better than luck by "
        f"{100 * evidence.deflated_sharpe_ratio:.0f} % among {evidence.trials} tried"
    )
    verdict = "enough" if finding is Trend.STRONG else "not enough"
    return f"{figures}; {later}: {verdict} to promote it"
