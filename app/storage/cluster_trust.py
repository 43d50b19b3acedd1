"""Whether a master of a cluster still is one, and has all that its slots held, by the word of the
other shards' nodes.

A replica is promoted by the vote of most masters and says so to every node. A master that hung, or
that is behind a cut network together with this process, does not hear of it, nor do its replicas
there. So neither is asked: the nodes of the other shards are, and most of them must name it. Nobody
promotes a replica of a master that has none.

Of a slot on its way two nodes know: the master that gives it, which refuses what may be incomplete,
and the one that takes it. Replicas are not told. One that is promoted keeps the part that had not
left, and does not know that there was more. So nothing is answered out of what another node is
taking; and a replica, or whoever has become the master, answers only for what every other master
said since that it does not take.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from app.storage.cluster_map import Group, Member


@dataclass(frozen=True, slots=True)
class _Word:
    """What a node said when it was asked at this moment: the masters that have slots, all of them
    that have not failed, and which slots are on their way from it and to it."""

    asked_at_s: float
    masters: frozenset[str]
    alive: frozenset[str]
    giving: frozenset[int]
    taking: frozenset[int]


class Words:
    """The last word of each node."""

    def __init__(self) -> None:
        self._words: dict[str, _Word] = {}

    def hear(self, view: Sequence[Member], asked_at_s: float) -> None:
        """A node that was asked at this moment (monotonic clock) sees the cluster so."""
        masters = [m for m in view if m.master_id is None]
        serving = frozenset(m.node_id for m in masters if m.slots)
        alive = frozenset(m.node_id for m in masters if not m.has_failed)
        for member in view:
            if member.is_myself:
                self._words[member.node_id] = _Word(
                    asked_at_s, serving, alive, member.giving, member.taking
                )

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

    def taken_from(self, group: Group) -> frozenset[int]:
        """Slots of which another shard's node is taking what it gets, as far as the nodes said."""
        others = (w for node_id, w in self._words.items() if node_id not in group.node_ids)
        return frozenset[int]().union(*(word.taking for word in others))

    def given_by(self, group: Group) -> frozenset[int]:
        """Slots that the group's master gives, as it said last."""
        own = self._words.get(group.master.node_id)
        return frozenset() if own is None else own.giving

    def all_heard_since(self, group: Group, masters: Collection[str], moment_s: float) -> bool:
        """Whether every master of another shard was asked at this moment or later and answered.

        Not those that the others say have failed. `masters`: those that are known.
        """
        if group.node_ids.issuperset(masters):
            return True
        others = (item for item in self._words.items() if item[0] not in group.node_ids)
        heard = {node_id: word for node_id, word in others if word.asked_at_s >= moment_s}
        needed = frozenset[str]().union(*(word.alive for word in heard.values())) - group.node_ids
        return bool(needed) and needed <= heard.keys()
