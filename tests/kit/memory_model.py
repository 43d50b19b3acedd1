"""A plain Python model of episodic memory, to compare the service with."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.settings import VectorType

Memory = dict[str, Any]


def cosine_distance(a: list[float], b: list[float], stored_as: VectorType = "float32") -> float:
    """1 - cosine of the angle, in double precision from the numbers that are stored."""
    x, y = as_stored(a, stored_as).astype("f8"), as_stored(b, stored_as).astype("f8")
    return float(1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def as_stored(vector: list[float], stored_as: VectorType) -> NDArray[np.float32]:
    """The numbers as they are stored: float32, or rounded from it to float16."""
    return np.asarray(vector, "f4").astype(stored_as).astype("f4")


def matches(memory: Memory, conditions: dict[str, Any]) -> bool:
    """Whether a memory meets all conditions of a request."""
    reward = memory["reward"]
    for name, wanted in conditions.items():
        match name:
            case "product_id" | "regime" | "action":
                ok = memory[name] in ([wanted] if isinstance(wanted, str) else wanted)
            case "min_reward":
                ok = reward is not None and reward >= wanted
            case "max_reward":
                ok = reward is not None and reward <= wanted
            case "since":
                ok = memory["timestamp"] >= wanted
            case "until":
                ok = memory["timestamp"] <= wanted
            case "terminal":
                ok = memory["terminal"] == wanted
            case "min_quality":
                ok = memory.get("quality") is not None and memory["quality"] >= wanted
            case _:
                raise AssertionError(name)
        if not ok:
            return False
    return True


def _as_sent(memory: Memory) -> str:
    """What tells one content from another: -0.0 equals 0.0 in Python, but not as sent."""
    return json.dumps(memory, sort_keys=True)


@dataclass
class MemoryModel:
    """Memories by agent and id, in the order in which they were written."""

    memories: dict[tuple[str, str], Memory] = field(default_factory=dict)
    sent: dict[tuple[str, str], Memory] = field(default_factory=dict)

    def store(self, memory: Memory) -> int:
        """The status that the service must answer."""
        key = (memory["agent_id"], memory["id"])
        if key in self.memories:
            return 200 if _as_sent(self.sent[key]) == _as_sent(memory) else 409
        self.sent[key] = memory
        self.memories[key] = dict(memory)
        return 201

    def close(self, agent_id: str, memory_id: str, reward: float) -> int:
        """The status that the service must answer."""
        memory = self.memories.get((agent_id, memory_id))
        if memory is None:
            return 404
        if memory["reward"] is None:
            memory["reward"] = reward
        return 200 if memory["reward"] == reward else 409

    def delete(self, agent_id: str, memory_id: str) -> int:
        """The status that the service must answer."""
        self.sent.pop((agent_id, memory_id), None)
        return 204 if self.memories.pop((agent_id, memory_id), None) else 404

    def of(self, agents: set[str], conditions: dict[str, Any]) -> list[Memory]:
        """The agents' memories that match, in the order of writing."""
        return [
            memory
            for (agent_id, _), memory in self.memories.items()
            if agent_id in agents and matches(memory, conditions)
        ]

    def ordered(
        self, agent_id: str, conditions: dict[str, Any], sort_by: str, order: str
    ) -> list[str]:
        """Ids as a query must list them: without a value last, equal values as written."""
        found = self.of({agent_id}, conditions)
        sign = -1 if order == "desc" else 1
        found.sort(key=lambda m: (m[sort_by] is None, sign * (m[sort_by] or 0)))
        return [memory["id"] for memory in found]
