"""What can be asked of moves: move one agent, drain a group, rebalance, see how far it is."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from app.auth import caller as access
from app.errors import InvalidInput, MemoryNotFound, StorageFull
from app.moves.ledger import ENDED, Move, MoveLedger
from app.nodes.groups.placement import GroupShards
from app.nodes.groups.room import nearly_full, used_shares, with_room
from app.nodes.shard import Shards


@dataclass(frozen=True, slots=True)
class GroupState:
    """One group: its weight, its agents, and how many are on their way to and from it."""

    name: str
    is_home: bool
    is_up: bool
    weight: float
    agents: int
    arriving: int
    leaving: int


@dataclass(frozen=True, slots=True)
class Rearranged:
    """The moves that were added. The `full` groups have no room, and were chosen for none."""

    moves: Sequence[Move]
    full: frozenset[str]


class MoveOperations:
    """Asks for moves. A service's process makes them (app/moves/mover.py)."""

    def __init__(self, shards: Shards, now: Callable[[], float] = time.time) -> None:
        self._shards = shards
        self._now = now

    async def move(self, agent_id: str, group: str | None) -> Move:
        """Ask for an agent's move to this group, or to the emptiest for its weight.

        Return the move, which may have been asked for before. Raise InvalidInput, AgentForbidden,
        MemoryNotFound, StorageFull or another StorageError.
        """
        access.require_agent(agent_id)
        shards = self._grouped()
        await shards.load_places()
        ledger = MoveLedger(shards)
        if group is not None:
            ledger.require_groups([group])
        known = await ledger.of(agent_id)
        if known is not None and known.status not in ENDED:
            if group not in {None, known.target}:
                raise InvalidInput(
                    f"group: the agent is on its way to group {known.target}: wait until it is "
                    "there.",
                    field="group",
                )
            return known
        here = (await shards.locate_group(agent_id)).name
        if shards.place_of(agent_id) is None:
            raise MemoryNotFound(f"Agent {agent_id} has no memories: check its name.")
        target = group or await self._emptiest(shards, besides=here)
        added = await ledger.want({agent_id: target}, self._now())
        if added:
            return added[0]
        if known is not None and known.target == target:
            return known
        return Move(agent_id, here, here, status="done", progress=1.0, wanted_at=self._now())

    def _grouped(self) -> GroupShards:
        if not isinstance(self._shards, GroupShards):
            raise InvalidInput("group: this memory has only one group.", field="group")
        return self._shards

    async def _emptiest(self, shards: GroupShards, besides: str) -> str:
        counts = shards.counts()
        others = {n: w for n, w in shards.open_weights.items() if n != besides}
        if not others:
            raise InvalidInput("group: there is no other group to move to.", field="group")
        others = with_room(others, await full_groups(shards))
        if not others:
            raise _no_room()
        return min(others, key=lambda name: (counts.get(name, 0) / others[name], name))

    async def drain(self, group: str) -> Rearranged:
        """Ask for the moves of all agents of a group to the others that have room.

        The caller has set its weight to 0. Raise InvalidInput, StorageFull if no other group has
        room, or another StorageError.
        """
        return await self._rearrange(leaving=group)

    async def rebalance(self) -> Rearranged:
        """Ask for the fewest moves after which each group that has room has its share.

        Raise StorageFull if a group has more than its share and no other has room, or another
        StorageError.
        """
        return await self._rearrange()

    async def _rearrange(self, leaving: str | None = None) -> Rearranged:
        shards = self._grouped()
        await shards.load_places()
        weights = {n: w for n, w in shards.open_weights.items() if n != leaving}
        full = await full_groups(shards)
        targets = balanced(shards, weights, leaving=leaving, full=full)
        return Rearranged(await self._want(shards, targets), full.intersection(weights))

    async def _want(self, shards: GroupShards, targets: Mapping[str, str]) -> list[Move]:
        return await MoveLedger(shards).want(targets, self._now())

    async def status(self) -> tuple[list[GroupState], list[Move]]:
        """Return the groups, and every agent's latest move. Raise InvalidInput or StorageError."""
        shards = self._grouped()
        await shards.load_places()
        moves = await MoveLedger(shards).all()
        arriving = Counter(m.target for m in moves if m.status not in ENDED)
        leaving = Counter(m.source for m in moves if m.status not in ENDED)
        counts = shards.counts()
        groups = [
            GroupState(
                name=name,
                is_home=shards.home.name == name,
                is_up=shards.group(name).has_master and shards.group(name).master.status.is_up,
                weight=shards.weights.get(name, 0.0),
                agents=counts.get(name, 0),
                arriving=arriving[name],
                leaving=leaving[name],
            )
            for name in shards.names
        ]
        return groups, moves


async def full_groups(shards: GroupShards) -> frozenset[str]:
    """Return the groups whose master has used nearly all of its memory limit. One that does not
    answer is not among them: a move there waits for it."""
    return nearly_full(await used_shares(shards))


def _no_room() -> StorageFull:
    return StorageFull(
        "No other group has room: raise maxmemory in one, or add a group, then ask again."
    )


def balanced(
    shards: GroupShards,
    weights: Mapping[str, float],
    leaving: str | None = None,
    full: Collection[str] = (),
) -> dict[str, str]:
    """Return where agents must move so that each group has its share, as few as possible; or, with
    `leaving`, where those of that group go. A full group gets none. Raise StorageFull if agents
    must move and no group has room."""
    counts = dict(shards.counts())
    shares = _shares(counts, weights)
    kept = {name: min(counts.get(name, 0), shares[name]) for name in weights if name in full}
    takers = with_room(weights, full)
    shares = kept | _shares(counts, takers, besides=sum(kept.values()))
    if leaving is None:
        more = {name: max(0, count - round(shares.get(name, 0))) for name, count in counts.items()}
    else:
        more = {leaving: counts[leaving]}
    free = [agent_id for name in more for agent_id in shards.agents_in(name)[: more[name]]]
    counts |= {name: counts[name] - gone for name, gone in more.items()}
    if free and not takers:
        raise _no_room()
    targets: dict[str, str] = {}
    for agent_id in free:
        target = min(takers, key=lambda name: (counts[name] - shares[name], name))
        counts[target] += 1
        targets[agent_id] = target
    return {a: t for a, t in targets.items() if shards.place_of(a) != t}


def _shares(
    counts: Mapping[str, int], weights: Mapping[str, float], besides: float = 0.0
) -> dict[str, float]:
    """Return how many agents each of these groups should have, if `besides` are elsewhere."""
    whole, total = sum(weights.values()), sum(counts.values()) - besides
    return {name: total * weight / whole for name, weight in weights.items()}


def summary(groups: Sequence[GroupState], moves: Sequence[Move]) -> str:
    """Return the state of the groups and of the moves in progress, as lines of text."""
    lines = [
        f"{g.name:16} {'home' if g.is_home else '':5} {'up' if g.is_up else 'away':5} "
        f"weight {g.weight:<5g} {g.agents:>8,} agents"
        + (f"  {g.arriving:,} arriving" if g.arriving else "")
        + (f"  {g.leaving:,} leaving" if g.leaving else "")
        for g in groups
    ]
    under_way = [move for move in moves if move.status not in ENDED]
    lines += [
        f"{m.agent_id}: {m.source} -> {m.target}, {m.status}, {m.progress:.0%}"
        + (f" ({m.detail})" if m.detail else "")
        for m in under_way[:20]
    ]
    if len(under_way) > 20:
        lines.append(f"... and {len(under_way) - 20:,} more moves")
    return "\n".join(lines) + "\n"
