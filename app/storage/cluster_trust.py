"""Whether a master of a cluster still is one, and has all that its slots held, by the word of the
other shards' nodes.

A replica is promoted by the vote of most masters and says so to every node. A master that hung, or
that is behind a cut network together with this process, does not hear of it, nor do its replicas
there. So neither is asked: the nodes of the other shards are, and most of them must name it, or as
many of their masters as a promotion needs votes. (All of them, where there are fewer.) Nobody
promotes a replica of a master that has none.

Either is enough to trust a master, and a new one gets its first write when it has both. A node that
named the new one never names the old one again. So nobody trusts the old one by an answer given
after that: two such sets of nodes have a node in common, and so have two such sets of masters, for
each is more than half of the others, and who voted for the new one is more than half as well.
Masters of other shards that were replaced meanwhile may count here and their successors there; with
fewer votes than a promotion needs one such change would be enough to part the two sets.

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

    def stood_by_at_s(self, group: Group, groups: Collection[Group]) -> tuple[float, float]:
        """The latest moments at which most of the other shards' nodes named this group's master,
        and at which as many of their masters did as a promotion needs votes.

        Infinite where there is nothing to hear, minus infinite where too few named it last.
        """
        others = [other for other in groups if other is not group]
        if not group.replicas or not others:
            return math.inf, math.inf
        nodes = [node_id for other in others for node_id in other.node_ids]
        masters = [other.master.node_id for other in others]
        votes = len(groups) // 2 + 1
        return (
            self._named_at_s(group.master, nodes, len(nodes) // 2 + 1),
            self._named_at_s(group.master, masters, min(votes, len(masters))),
        )

    def _named_at_s(self, master: Member, by: Collection[str], needed: int) -> float:
        words = (self._words.get(node_id) for node_id in by)
        named = sorted(
            (w.asked_at_s for w in words if w is not None and master.node_id in w.masters),
            reverse=True,
        )
        return named[needed - 1] if len(named) >= needed else -math.inf

    def taken_from(self, group: Group) -> frozenset[int]:
        """Slots of which another shard's node is taking what it gets, as far as the nodes said."""
        others = (w for node_id, w in self._words.items() if node_id not in group.node_ids)
        return frozenset[int]().union(*(word.taking for word in others))

    def given_by(self, group: Group) -> frozenset[int]:
        """Slots that the group's master gives, as it said last."""
        own = self._words.get(group.master.node_id)
        return frozenset() if own is None else own.giving

    def unheard_since(
        self, group: Group, masters: Collection[str], moment_s: float
    ) -> frozenset[str]:
        """The masters of other shards that did not answer what they were asked then or later.

        Not those that the others say have failed. `masters`: those that are known.
        """
        known = frozenset(masters) - group.node_ids
        if not known:
            return known
        others = (item for item in self._words.items() if item[0] not in group.node_ids)
        heard = {node_id: word for node_id, word in others if word.asked_at_s >= moment_s}
        needed = frozenset[str]().union(*(word.alive for word in heard.values())) - group.node_ids
        return needed - heard.keys() if needed else known
