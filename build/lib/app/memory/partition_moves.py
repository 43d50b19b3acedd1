"""A partition is searched exactly until that costs too much; then its index moves to HNSW.

It moves back when it has shrunk well below the threshold, so that one that grows and shrinks
around it stays where it is.
"""

import logging

from app.background import OwnerFailures
from app.storage.index_move import IndexMover, Place
from app.storage.redis_errors import IndexMissing
from app.storage.schema import Algorithm
from app.storage.turns import SHARE_OF_INTERVAL, Turns

logger = logging.getLogger(__name__)

JOB = "index_moves"
TURN_S = 10.0
"""How long a process that died in its turn keeps others from going on."""

BACK_SHARE = 0.5
"""Of the threshold: a partition with fewer memories moves back to FLAT."""


class PartitionMoves:
    """Decides which partitions move. `threshold` 0: none to HNSW, and those that are, back.

    Every process calls `run_in_turn` each `interval_s`; one of them works.
    """

    def __init__(
        self, mover: IndexMover, turns: Turns, *, threshold: int, interval_s: float
    ) -> None:
        self._mover = mover
        self._turns = turns
        self._threshold = threshold
        self._interval_s = interval_s

    async def run_in_turn(self) -> None:
        """Move what must move, one partition after the other, unless another process is at it."""
        if not await self._turns.take(JOB, self._interval_s):
            return
        async with self._turns.returned_on_failure(JOB):
            failures = OwnerFailures("moving indexes")
            for agent_id in await self._mover.worth_a_look(self._threshold):
                await self._keep_turn()
                with failures.isolating(agent_id):
                    await self._look_at(agent_id)
        await self._turns.hold(JOB, self._interval_s * SHARE_OF_INTERVAL)

    async def _look_at(self, agent_id: str) -> None:
        try:
            place = await self._mover.place(agent_id)
            if place is not None:
                await self._settle(place)
        except IndexMissing:  # dropped by hand meanwhile: the next search or run mends it
            logger.warning("an index went while it moved", extra={"agent": agent_id})

    async def _settle(self, place: Place) -> None:
        wanted = self._wanted(place)
        if wanted == place.algorithm and not place.has_second:
            return
        if wanted != place.algorithm and not await self._mover.has_room(place):
            logger.warning(
                "no room in Redis for a second index: the partition stays where it is",
                extra={"agent": place.agent_id, "algorithm": place.algorithm},
            )
            return
        await self._mover.move(place, wanted, self._keep_turn)

    def _wanted(self, place: Place) -> Algorithm:
        if self._threshold == 0:
            return "FLAT"
        if place.algorithm == "FLAT":
            return "HNSW" if place.documents > self._threshold else "FLAT"
        return "FLAT" if place.documents <= BACK_SHARE * self._threshold else "HNSW"

    async def _keep_turn(self) -> None:
        await self._turns.hold(JOB, TURN_S)
