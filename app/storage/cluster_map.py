"""Who has which slots of a Redis Cluster, put together out of what its nodes say (CLUSTER NODES).

Each node is believed about itself; one that does not answer is described by the others. Where two
masters claim a slot, the higher configuration epoch is right: that is how the nodes decide, too.
https://redis.io/docs/latest/commands/cluster-nodes/
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

SLOTS = 16_384
"""https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/"""

_UNFIT_FLAGS = {"handshake", "noaddr"}
_GIVING = re.compile(r"\[(\d+)->-")
_TAKING = re.compile(r"\[(\d+)-<-")

SlotRange = tuple[int, int]
"""The first slot and the last one."""


@dataclass(frozen=True, slots=True)
class Member:
    """One node as a node sees it. `master_id` None: a master. `host` may be empty: its own.

    `giving`, `taking`: slots on their way to another node, from another node; nodes tell only their
    own. `has_failed`: most masters say so.
    """

    node_id: str
    host: str
    port: int
    master_id: str | None
    epoch: int
    slots: tuple[SlotRange, ...]
    giving: frozenset[int]
    taking: frozenset[int]
    is_myself: bool
    has_failed: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A master, the replicas that follow it, and the slots that are its own."""

    master: Member
    replicas: tuple[Member, ...]
    slots: tuple[SlotRange, ...]

    @property
    def node_ids(self) -> frozenset[str]:
        """Those of all of its nodes."""
        return frozenset(member.node_id for member in (self.master, *self.replicas))


@dataclass(frozen=True, slots=True)
class ClusterMap:
    """The whole cluster. `moving`: slots under way from one master to another."""

    groups: tuple[Group, ...]
    moving: frozenset[int]


def read_nodes(text: str) -> list[Member]:
    """The reply to CLUSTER NODES."""
    members = [_member(line.split()) for line in text.splitlines()]
    return [member for member in members if member is not None]


def _member(words: Sequence[str]) -> Member | None:
    node_id, address, flags, master_id, _, _, epoch, _, *slots = words
    if not _UNFIT_FLAGS.isdisjoint(flags.split(",")):
        return None
    host, _, port = address.partition("@")[0].rpartition(":")
    return Member(
        node_id=node_id,
        host=host,
        port=int(port),
        master_id=None if master_id == "-" else master_id,
        epoch=int(epoch),
        slots=tuple(_range(words) for words in slots if not words.startswith("[")),
        giving=_marked(slots, _GIVING),
        taking=_marked(slots, _TAKING),
        is_myself="myself" in flags,
        has_failed="fail" in flags.split(","),
    )


def _marked(slots: Sequence[str], mark: re.Pattern[str]) -> frozenset[int]:
    return frozenset(int(found[1]) for words in slots if (found := mark.match(words)))


def _range(words: str) -> SlotRange:
    low, _, high = words.partition("-")
    return int(low), int(high or low)


def combine(views: Iterable[Sequence[Member]]) -> ClusterMap:
    """One map out of what each answering node says."""
    members: dict[str, Member] = {}
    for member in (member for view in views for member in view):
        known = members.get(member.node_id)
        if known is None or (not known.is_myself and _knows_better(member, known)):
            members[member.node_id] = member
    masters = [m for m in members.values() if m.master_id is None]
    owned = _owned(masters)
    return ClusterMap(
        groups=tuple(
            Group(
                master,
                tuple(m for m in members.values() if m.master_id == master.node_id),
                owned[master.node_id],
            )
            for master in sorted(masters, key=lambda m: (owned[m.node_id] or ((SLOTS, 0),), m.port))
        ),
        moving=frozenset[int]().union(*(m.giving | m.taking for m in members.values())),
    )


def _knows_better(member: Member, known: Member) -> bool:
    return member.is_myself or member.epoch > known.epoch


def _owned(masters: Sequence[Member]) -> dict[str, tuple[SlotRange, ...]]:
    """Each master's slots, claimed by no newer one."""
    owner: list[str | None] = [None] * SLOTS
    for master in sorted(masters, key=lambda m: m.epoch):
        for low, high in master.slots:
            owner[low : high + 1] = [master.node_id] * (high + 1 - low)
    owned: dict[str, list[SlotRange]] = {master.node_id: [] for master in masters}
    for node_id, low, high in _runs(owner):
        owned[node_id].append((low, high))
    return {node_id: tuple(ranges) for node_id, ranges in owned.items()}


def _runs(owner: Sequence[str | None]) -> Iterator[tuple[str, int, int]]:
    low = 0
    for slot in range(1, len(owner) + 1):
        if slot == len(owner) or owner[slot] != owner[low]:
            node_id = owner[low]
            if node_id is not None:
                yield node_id, low, slot - 1
            low = slot
