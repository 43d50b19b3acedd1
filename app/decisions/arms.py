"""Draws the arm of each recall: the memory, no memory, or a placebo.

The arm comes from a hash of the agent, the state and the minute (or `as_of`), so every process
gives a repeated question the same one, and nothing has to be stored. In another minute the same
state is drawn again, so that with few states an arm does not stay with a state.

The placebo is the answer to another of the agent's own states, drawn from its memory, without that
state's own memory: all of it is true, but it says nothing about the present state.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from app.decisions.donors import Donors
from app.decisions.recall_ids import WHOLE, Shares, new_recall_id
from app.metrics import RECALLS
from app.model import ARMS, ArmName
from app.vectors import without_negative_zeros

SAME_ARM_S = 60.0
"""How long the same state of an agent keeps its arm."""

UNIT_BYTES = 8
PLACES = 2**64 // WHOLE + 1


@dataclass(frozen=True, slots=True)
class Assigned:
    """How a recall is answered. `state_vector` is the state whose memories answer, or None if
    nothing may answer."""

    recall_id: str
    arm: ArmName
    state_vector: bytes | None


class Arms:
    """Assigns recalls to arms. `now` returns unix seconds."""

    def __init__(self, shares: Shares, donors: Donors, now: Callable[[], float]) -> None:
        self.shares = shares
        self._donors = donors
        self._now = now
        self._counted = {arm: RECALLS.labels(arm) for arm in ARMS}

    async def assign(self, agent_id: str, state_vector: bytes, as_of: float | None) -> Assigned:
        """Return the arm of a question. Raise StorageError."""
        now = self._now()
        moment = now // SAME_ARM_S if as_of is None else as_of + 0.0  # -0 is 0
        state = without_negative_zeros(state_vector)
        hashed = hashlib.blake2b(state, digest_size=2 * UNIT_BYTES)
        hashed.update(f"{agent_id}\0{moment!r}".encode())
        unit, drawn = hashed.digest()[:UNIT_BYTES], hashed.digest()[UNIT_BYTES:]
        number = int.from_bytes(drawn, "big")
        arm = _arm(number % WHOLE, self.shares)
        asked: bytes | None = state_vector
        if arm == "no_memory":
            asked = None
        elif arm == "placebo":
            asked = await self._donors.draw(agent_id, as_of, (number // WHOLE) / PLACES)
        self._counted[arm].inc()
        return Assigned(new_recall_id(agent_id, arm, self.shares, unit, now), arm, asked)

    async def aclose(self) -> None:
        """Cancel what is in progress."""
        await self._donors.aclose()


def _arm(place: int, shares: Shares) -> ArmName:
    if place < shares.no_memory:
        return "no_memory"
    return "placebo" if place < shares.no_memory + shares.placebo else "memory"
