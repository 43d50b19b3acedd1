"""Whether a master of a cluster still is one, by the word of the other shards' nodes.

A replica is promoted by the vote of most masters and says so to every node. A master that hung, or
that is behind a cut network together with this process, does not hear of it, nor do its replicas
there. So neither is asked: the nodes of the other shards are, and most of them must name it. Nobody
promotes a replica of a master that has none.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from app.storage.cluster_map import Group, Member


@dataclass(frozen=True, slots=True)
class _Word:
    """What a node said when it was asked at this moment: the masters that have slots."""

    asked_at_s: float
    masters: frozenset[str]


class Words:
    """The last word of each node."""

    def __init__(self) -> None:
        self._words: dict[str, _Word] = {}

    def hear(self, view: Sequence[Member], asked_at_s: float) -> None:
        """A node that was asked at this moment (monotonic clock) sees the cluster so."""
        masters = frozenset(m.node_id for m in view if m.master_id is None and m.slots)
        for member in view:
            if member.is_myself:
                self._words[member.node_id] = _Word(asked_at_s, masters)

    def forget_all_but(self, node_ids: Collection[str]) -> None:
        """These are the nodes that there are."""
        self._words = {i: word for i, word in self._words.items() if i in node_ids}

    def stood_by_at_s(self, group: Group, everybody: Collection[str]) -> float:
        """The latest moment at which most of the other shards' nodes named this group's master.

        Infinite where there is nothing to hear, minus infinite where most name another or nobody.
        """
        others = [node_id for node_id in everybody if node_id not in group.node_ids]
        if not group.replicas or not others:
            return math.inf
        words = (self._words.get(node_id) for node_id in others)
        named = sorted(
            (w.asked_at_s for w in words if w is not None and group.master.node_id in w.masters),
            reverse=True,
        )
        needed = len(others) // 2 + 1
        return named[needed - 1] if len(named) >= needed else -math.inf
