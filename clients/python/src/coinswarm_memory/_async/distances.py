"""Distances that are learned from outcomes: which numbers of a state matter."""

from collections.abc import Sequence
from typing import Unpack

from coinswarm_memory._async import jobs
from coinswarm_memory._async.caller import AsyncCaller
from coinswarm_memory.answers import Distance, DistanceFit, Promotion
from coinswarm_memory.encode.times import TimeLike
from coinswarm_memory.operations import distances
from coinswarm_memory.operations.fields import contract_fields
from coinswarm_memory.operations.filters import LearnOptions
from coinswarm_memory.view import View


class AsyncDistances:
    """Learned distances. Made by `memory.distances`.

    A distance's `id` is the `metric` of a recall, an estimate or an evaluation. Calls that name a
    distance raise MetricNotFound.
    """

    def __init__(self, caller: AsyncCaller, view: View) -> None:
        self._caller = caller
        self._view = view

    async def learn(
        self,
        agent: str,
        *,
        names: Sequence[str] | None = None,
        timeout_s: float = 600.0,
        **options: Unpack[LearnOptions],
    ) -> DistanceFit:
        """Learn from an agent's outcomes which numbers of a state matter.

        `distance` of the answer is None if none of them says anything of the reward. `names`: what
        the numbers are called, in order. Waits until it is done, up to `timeout_s`, and cancels it
        then. Raises InvalidInput if there are too few outcomes, HistoryTooLong.
        """
        as_of = self._view.bounded(options.get("as_of"))
        told = {
            **options,
            "names": None if names is None else list(names),
            "as_of": as_of,
            "agent_id": agent,
        }
        wanted = contract_fields(told)
        return await jobs.finished(self._caller, distances.DISTANCES, wanted, timeout_s, as_of)

    async def of(self, agent: str, *, as_of: TimeLike | None = None) -> list[Distance]:
        """Return an agent's distances, the latest first."""
        asked = distances.list_of(agent, self._view.bounded(as_of))
        found = await self._caller.call(asked)
        return found.distances

    async def get(self, id: str, *, as_of: TimeLike | None = None) -> DistanceFit:
        """Return a distance with its weights, or how far its learning is."""
        asked = distances.DISTANCES.find(id, self._view.bounded(as_of))
        return await self._caller.call(asked)

    async def delete(self, id: str) -> None:
        """Forget a distance. If the swarm went by it, it no longer does."""
        self._view.require_present("Deleting")
        await self._caller.call(distances.DISTANCES.delete(id))

    async def promote(self, id: str, evaluation_id: str) -> Promotion:
        """Have `metric="promoted"` mean this distance, for every agent. Takes an admin's key.

        `evaluation_id`: an evaluation with this metric that says `helps`. Raises PromotionRefused
        if it does not prove it.
        """
        self._view.require_present("Promoting")
        return await self._caller.call(distances.promote(id, evaluation_id))

    async def take_back(self, id: str) -> None:
        """Have `metric="promoted"` mean the cosine distance again. Takes an admin's key."""
        self._view.require_present("Taking a promotion back")
        await self._caller.call(distances.take_back(id))
