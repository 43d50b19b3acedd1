"""What a process does when it hears that another one changed a memory, or moved an agent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from app import keys
from app.nodes.changes import moved_in
from app.nodes.groups.membership import read_list
from app.nodes.groups.placement import GroupShards
from app.nodes.jobs import periodically
from app.nodes.shard import Shards

LOOK_INTERVAL_S = 1.0


class Hearer(Protocol):
    """Takes over what changed."""

    def changed(self, partition: str) -> None:
        """Take over that this partition was written to."""
        ...


class ChangeNews:
    """Passes on what the change channels say, and follows agents' places."""

    def __init__(self, shards: Shards, hearer: Hearer) -> None:
        self._groups = shards if isinstance(shards, GroupShards) else None
        self._hearer = hearer
        self._seen = -1
        self._history = ""

    def changed(self, message: str) -> None:
        """Take over what the change channel says: a partition's key, or an agent's new place."""
        moved = None if self._groups is None else moved_in(message)
        if moved is None:
            self._hearer.changed(message)
        elif self._groups is not None:
            self._groups.moved(*moved)
            self._moved(moved[0])

    def _moved(self, agent_id: str) -> None:
        self._hearer.changed(keys.episodic_partition(agent_id))

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look for moves that the channel did not tell, while the context is open."""
        if self._groups is None:
            yield
            return
        async with periodically(self._look, LOOK_INTERVAL_S, "following the places of agents"):
            yield

    async def _look(self) -> None:
        """Read all places and weights if any has changed since the last look.

        A home with another history may have lost the latest places: they are entered again.
        """
        groups = self._groups
        if groups is None:
            return
        history = groups.home.master.status.replication_id
        if history != self._history:
            if self._history:
                await groups.enter_again()
            self._seen, self._history = -1, history
        version = await groups.version()
        if version == self._seen:
            return
        groups.set_weights((await read_list(groups.home.master.probe)).weights)
        for agent_id in await groups.load_places():
            self._moved(agent_id)
        self._seen = version
