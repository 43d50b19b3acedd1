"""A PATTERN memory made of a cluster: what stands in it, and when it counts as changed."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from pydantic import BaseModel, FiniteFloat, StrictStr, ValidationError

from app.consolidation.clustering import Vectors
from app.consolidation.rules import TRANSITIONS, Finding, PatternRules, Status
from app.consolidation.statistics import RewardStatistics, by_action, statistics_of
from app.fields import MAX_METADATA_BYTES
from app.storage.episode_source import Episode

SOURCE = "consolidation"
"""`metadata.source` of a pattern that was made here; no other is ever touched."""

ID_PREFIX = "pattern-"
_OWN_ID = re.compile(rf"{ID_PREFIX}[0-9a-f]{{32}}")

MAX_IDS_BYTES = 8 * 1024
"""Of the ids behind a pattern the nearest to its centre are named, as far as this goes, and as far
as the metadata's own bound leaves room."""

MAX_ACTIONS_BYTES = 4 * 1024
"""Of the actions in a pattern the most frequent have their statistics in it, as far as this goes:
actions of free text are as many as memories."""

SPARE_BYTES = 512
"""Left of the metadata for what is added to it: status, reason, the number of actions left out."""

SAME_CENTRE = 1e-6
"""Cosine distance below which a centre has not moved: k-means sums in no certain order."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose experiences were clustered: one agent's, or all agents' with one product."""

    agent_id: str | None = None
    product_id: str | None = None

    @property
    def name(self) -> str:
        """What it is called in a report."""
        return self.agent_id or str(self.product_id)

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
        metadata=_metadata(episodes, statistics, owner, {} if former is None else former.metadata)
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
    return f"{ID_PREFIX}{hashlib.sha256(content).hexdigest()[:32]}"


def stored_pattern(record: Mapping[str, Any], centre: Vectors) -> tuple[Owner, Pattern] | None:
    """Return a concept's owner and the pattern that it is, or None if it was not made here.

    `centre` has length one. That its metadata names this source is not enough: anybody may write
    that.
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
    """What the metadata of a pattern that was made here holds, beside its statistics."""

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
    finding: Finding, statistics: RewardStatistics, promoted_sharpe_ratio: float | None
) -> str:
    figures = f"{statistics.n} memories with a Sharpe ratio of {statistics.sharpe_ratio:.3g}"
    if finding is Finding.FALLEN:
        return f"{figures}, fallen from {promoted_sharpe_ratio:.3g} at its promotion"
    return f"{figures} are {'enough' if finding is Finding.STRONG else 'not enough'} to promote it"
