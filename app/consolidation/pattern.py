"""A PATTERN memory made of a cluster: what stands in it, and when it counts as changed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from app.consolidation.clustering import Vectors
from app.consolidation.rules import TRANSITIONS, Finding, PatternRules, Status
from app.consolidation.statistics import RewardStatistics, by_action, statistics_of
from app.storage.episode_source import Episode

SOURCE = "consolidation"
"""`metadata.source` of a pattern that was made here; no other is ever touched."""

MAX_IDS_BYTES = 8 * 1024
"""Of the ids behind a pattern the nearest to its centre are named, as far as this goes."""

SAME_CENTRE = 1e-6
"""Cosine distance below which a centre has not moved: k-means sums in no certain order."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose experiences were clustered: one agent's, or all agents' with one product."""

    agent_id: str | None = None
    product_id: str | None = None

    def metadata(self) -> dict[str, str]:
        """The one of both that is given."""
        given = {"agent_id": self.agent_id, "product_id": self.product_id}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern as it is stored, or as it should be. `centre` has length one.

    `status_reason` says in words what decided on the status.
    """

    id: str
    regime: str
    centre: Vectors
    statistics: RewardStatistics
    metadata: dict[str, Any]

    @property
    def status(self) -> Status:
        """How far it may be leaned on."""
        return Status(self.metadata["status"])

    def is_same(self, other: "Pattern") -> bool:
        """Whether nothing that is stored would change."""
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
    rules: PatternRules,
) -> Pattern:
    """The pattern of a cluster, its memories nearest first; it continues the former one."""
    statistics = statistics_of(episodes)
    before = Status.CANDIDATE if former is None else former.status
    promoted_at = None if former is None else former.metadata.get("promoted_sharpe_ratio")
    finding = rules.finding(statistics, promoted_at)
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
        metadata=({} if former is None else former.metadata)
        | _metadata(episodes, statistics, owner)
        | {"status": status.value, "status_reason": _reason(finding, statistics, promoted_at)}
        | ({} if promoted_at is None else {"promoted_sharpe_ratio": promoted_at}),
    )


def without_memories(former: Pattern, rules: PatternRules) -> Pattern:
    """A pattern near which there is no cluster any more; its figures stay what they were."""
    finding = rules.finding(None, former.metadata.get("promoted_sharpe_ratio"))
    status = TRANSITIONS[former.status, finding]
    reason = "no cluster of the recent memories is near"
    changed = former.metadata | {"status": status.value, "status_reason": reason}
    return Pattern(former.id, former.regime, former.centre, former.statistics, changed)


def new_pattern_id(owner: Owner, regime: str, episodes: Sequence[Episode]) -> str:
    """The same for the same memories, so that two runs at once make one pattern."""
    members = sorted([episode.agent_id, episode.id] for episode in episodes)
    content = orjson.dumps([owner.metadata(), regime, members], option=orjson.OPT_SORT_KEYS)
    return f"pattern-{hashlib.sha256(content).hexdigest()[:32]}"


def _metadata(
    episodes: Sequence[Episode], statistics: RewardStatistics, owner: Owner
) -> dict[str, Any]:
    own = statistics.model_dump(exclude={"sharpe_ratio", "win_rate"})
    times = [episode.timestamp for episode in episodes]
    return {
        "source": SOURCE,
        **owner.metadata(),
        **own,
        "actions": {name: found.model_dump() for name, found in by_action(episodes).items()},
        "first_timestamp": min(times),
        "last_timestamp": max(times),
        "episodes": _named(episodes),
    }


def _named(episodes: Sequence[Episode]) -> list[dict[str, str]]:
    named: list[dict[str, str]] = []
    size_bytes = 0
    for episode in episodes:
        entry = {"agent_id": episode.agent_id, "id": episode.id}
        size_bytes += len(orjson.dumps(entry)) + 1
        if size_bytes > MAX_IDS_BYTES:
            break
        named.append(entry)
    return named


def _reason(
    finding: Finding, statistics: RewardStatistics, promoted_sharpe_ratio: float | None
) -> str:
    figures = f"{statistics.n} memories with a Sharpe ratio of {statistics.sharpe_ratio:.3g}"
    if finding is Finding.FALLEN:
        return f"{figures}, fallen from {promoted_sharpe_ratio:.3g} at its promotion"
    return f"{figures} are {'enough' if finding is Finding.STRONG else 'not enough'} to promote it"
