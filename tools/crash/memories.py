"""What the writers send: each memory follows from the run's seed, its agent and its number."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIMENSION = 16
"""Small: what is counted here does not depend on it, and the checker compares with every vector."""
FIRST_TIMESTAMP_S = 1_700_000_000.0
ACTIONS = ("buy", "sell", "hold")
NEVER = float("inf")

Vector = NDArray[np.float32]


@dataclass
class Memory:
    """One memory, and what the service has confirmed of it. Moments are monotonic seconds.

    `changed_by`: the number of the service that confirmed the latest change.

    `by_key`: it is stored without an id, by an Idempotency-Key; its `id` is None until the service
    has told it.
    """

    agent: str
    number: int
    id: str | None
    vector: Vector = field(repr=False)
    shown: dict[str, Any] = field(repr=False)
    reward: float | None
    outcome: float
    by_key: bool
    confirmed_at: float = NEVER
    changed_by: int = -1
    token: str = ""
    outcome_sent_at: float = NEVER
    outcome_at: float = NEVER
    delete_sent_at: float = NEVER
    deleted_at: float = NEVER
    other_ids: set[str] = field(default_factory=set)

    @property
    def is_confirmed(self) -> bool:
        """Return whether the store was answered."""
        return self.confirmed_at < NEVER

    @property
    def must_be_there(self) -> bool:
        """Return whether it is confirmed and its deletion was never requested."""
        return self.is_confirmed and self.delete_sent_at == NEVER

    @property
    def is_open(self) -> bool:
        """Return whether an outcome may be given."""
        return self.must_be_there and self.reward is None and self.outcome_sent_at == NEVER

    def body(self) -> dict[str, Any]:
        """Return the JSON of the store."""
        body = {"agent_id": self.agent, "state_vector": self.vector.tolist(), **self.shown}
        if self.reward is not None:
            body["reward"] = self.reward
        if not self.by_key:
            body["id"] = self.id
        return body

    @property
    def idempotency_key(self) -> str:
        """Return its key, the same at each try."""
        return f"{self.agent}/{self.number}"

    def may_have_reward(self, reward: float | None) -> bool:
        """Return whether a record may have this reward."""
        if self.reward is not None:
            return reward == self.reward
        return reward is None or (self.outcome_sent_at < NEVER and reward == self.outcome)


def make_memory(seed: int, agent: int, number: int) -> Memory:
    """Memory `number` of an agent; every third waits for its outcome, every seventh has no id."""
    chance = np.random.default_rng([seed, agent, number])
    by_key = number % 7 == 3
    return Memory(
        agent=f"agent_{agent}",
        number=number,
        id=None if by_key else f"m{number}",
        vector=chance.normal(size=DIMENSION).astype(np.float32),
        shown={
            "product_id": f"P-{number % 5}",
            "regime": f"regime {number % 3}",
            "action": ACTIONS[number % len(ACTIONS)],
            "timestamp": FIRST_TIMESTAMP_S + number,
            "metadata": {"n": number},
        },
        reward=None if number % 3 == 0 else round(float(chance.normal()), 6),
        outcome=round(float(chance.normal()), 6),
        by_key=by_key,
    )
