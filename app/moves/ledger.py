"""The moves of agents between groups, kept in the home group's Redis.

A caller asks for a move. It is made by one of the service's processes
(app/moves/mover.py), which notes how far it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import orjson

from app import keys
from app.errors import InvalidInput
from app.nodes.changes import CHANNEL, moved_message
from app.nodes.client import Client, execute
from app.nodes.commands import Script
from app.nodes.groups.placement import GroupShards
from app.nodes.redis_errors import translated

MoveStatus = Literal["queued", "copying", "switching", "cleaning", "done", "failed"]

ENDED: frozenset[MoveStatus] = frozenset({"done", "failed"})
QUEUED_AT_A_TIME = 500


@dataclass(slots=True)
class Copied:
    """How far a copy is, so that it can continue from there.

    `position` is the last change that it has, and `seq` the number up to which every memory was
    copied. It began at `began_at` (unix seconds) and has this many `memories`.
    """

    position: str
    began_at: float
    seq: int = 0
    memories: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """One agent's move. `progress` is 0 to 1; times are unix seconds, None if not reached.

    `copied` is None until a page was copied, and again once the move has ended. `is_given_up`: the
    agent stays where it is, and its copy is being removed.
    """

    agent_id: str
    source: str
    target: str
    status: MoveStatus = "queued"
    progress: float = 0.0
    copied: Copied | None = None
    wanted_at: float = 0.0
    switched_at: float | None = None
    detail: str | None = None
    is_given_up: bool = False

    @classmethod
    def read(cls, stored: bytes) -> "Move":
        """Return the move that the ledger holds in this form."""
        fields = orjson.loads(stored)
        if fields["copied"] is not None:
            fields["copied"] = Copied(**fields["copied"])
        return cls(**fields)


class MoveLedger:
    """The latest move of each agent. `for_mover`: by the connections that requests do not use."""

    def __init__(self, shards: GroupShards, *, for_mover: bool = False) -> None:
        self._shards = shards
        self._for_mover = for_mover
        self._note = Script("set_fields")
        self._enter = Script("enter_place")

    @property
    def _home(self) -> Client:
        master = self._shards.home.master
        master.require_up()
        return master.probe if self._for_mover else master.client

    async def of(self, agent_id: str) -> Move | None:
        """Return the agent's latest move. None if it never moved. Raise StorageError."""
        with translated():
            found = await execute(self._home, "HGET", keys.MOVES, agent_id)
        return None if found is None else Move.read(found)

    async def all(self) -> list[Move]:
        """Return the latest move of each agent that has one, in the order of asking."""
        with translated():
            found = await execute(self._home, "HVALS", keys.MOVES)
        return sorted(map(Move.read, found), key=lambda move: (move.wanted_at, move.agent_id))

    async def want(self, targets: Mapping[str, str], now: float) -> list[Move]:
        """Note that these agents shall move to these groups, unless they are there or on their way.

        Return the moves that were added. Raise InvalidInput for an unknown group, or StorageError.
        """
        self.require_groups(set(targets.values()))
        under_way = {move.agent_id for move in await self.all() if move.status not in ENDED}
        added = []
        for agent_id, target in targets.items():
            source = (await self._shards.locate_group(agent_id)).name
            if agent_id not in under_way and source != target:
                added.append(Move(agent_id, source, target, wanted_at=now))
        for start in range(0, len(added), QUEUED_AT_A_TIME):
            await self.note(added[start : start + QUEUED_AT_A_TIME])
        return added

    def require_groups(self, groups: Iterable[str]) -> None:
        """Raise InvalidInput for an unknown group."""
        for group in groups:
            if group not in self._shards.weights:
                raise InvalidInput(f"group: there is no group {group}.", field="group")

    async def note(self, moves: Sequence[Move]) -> None:
        """Keep these moves as they are now. Raise StorageError."""
        items = [word for move in moves for word in (move.agent_id, orjson.dumps(asdict(move)))]
        await self._note.run(self._home, [keys.MOVES], items)

    async def switch(self, move: Move, now: float) -> Move:
        """Make the target the agent's place, tell every process, and return the move.

        The source says where the agent is even if the home loses this in a failover. Raise
        StorageError.
        """
        done = replace(
            move, status="cleaning", progress=1.0, copied=None, switched_at=now, detail=None
        )
        told = (CHANNEL, moved_message(move.agent_id, move.target))
        words = (move.agent_id, move.target, orjson.dumps(asdict(done)), *told)
        where = (keys.PLACEMENTS, keys.MOVES, keys.MOVES_MADE)
        await self._enter.run(self._home, where, words)
        self._shards.moved(move.agent_id, move.target)
        return done
