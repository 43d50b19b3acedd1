"""What was sent and confirmed, and whether an answer may be true.

Findings of two kinds. `false`: the answer shows what cannot be: another agent's memory, one that
was never sent, another record, a wrong order. `behind`: it lacks what was confirmed before it was
asked for. Whether that is wrong depends on what the caller asked for, and, for a memory that the
end of the run does not find either, it is the loss that counts and not each answer without it.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tools.crash.memories import DIMENSION, NEVER, Memory, Vector, make_memory

DISTANCE_TOLERANCE = 1e-4
"""The engine computes in 32 bits; nearer than this, either order is true."""

LACKS = "lacks a memory"
LACKS_OUTCOME = "lacks an outcome"
SHOWS_DELETED = "shows a deleted memory"

Consistency = Literal["eventual", "strong", "token"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question. `known_at`: everything confirmed before this moment was asked for."""

    agent: str
    consistency: Consistency
    known_at: float
    service: int
    vector: Vector
    top_k: int = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with an answer. `number` -1: no memory that was ever sent."""

    kind: Literal["false", "behind"]
    what: str
    agent: str
    number: int = -1
    asked: Asked | None = None
    served_by: str = ""


class AgentLedger:
    """One agent's memories by number; the columns repeat what the comparison needs of them."""

    def __init__(self, seed: int, agent: int) -> None:
        self.agent = f"agent_{agent}"
        self.memories: list[Memory] = []
        self._seed = (seed, agent)
        self._vectors: NDArray[np.float32] = np.zeros((64, DIMENSION), np.float32)
        self._there_from: NDArray[np.float64] = np.full(64, NEVER)
        self._there_until: NDArray[np.float64] = np.full(64, NEVER)

    def new(self) -> Memory:
        """Return the next memory, not yet sent."""
        memory = make_memory(*self._seed, len(self.memories))
        self.memories.append(memory)
        if len(self.memories) > len(self._vectors):
            self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
            more = np.full(len(self._there_from), NEVER)
            self._there_from = np.concatenate([self._there_from, more])
            self._there_until = np.concatenate([self._there_until, more])
        self._vectors[memory.number] = memory.vector / np.linalg.norm(memory.vector)
        return memory

    def confirmed(self, memory: Memory, at: float, *, by: int, memory_id: str, token: str) -> None:
        """Record that the store was answered."""
        if memory.id is not None and memory.id != memory_id:
            memory.other_ids.add(memory_id)
        memory.id = memory_id
        memory.token = token
        if not memory.is_confirmed:
            memory.confirmed_at = at
            memory.changed_by = by
            self._there_from[memory.number] = at

    def deleting(self, memory: Memory, at: float) -> None:
        """Record that its deletion is about to be requested."""
        memory.delete_sent_at = at
        self._there_until[memory.number] = at

    def check_search(self, asked: Asked, answer: dict[str, Any]) -> list[Finding]:
        """Return everything wrong with the answer to a search in the agent's own memories."""
        findings: list[Finding] = []
        hits = answer["memories"]
        unit = asked.vector / np.linalg.norm(asked.vector)
        distances = 1.0 - self._vectors[: len(self.memories)] @ unit
        found: set[int] = set()
        for hit in hits:
            memory, problems = self._look_at(asked, hit, answer["served_by"])
            findings += problems
            if memory is None:
                continue
            if memory.number in found:
                findings.append(self._false("doubled in one answer", asked, memory.number, answer))
            found.add(memory.number)
            if abs(distances[memory.number] - hit["distance"]) > DISTANCE_TOLERANCE:
                findings.append(self._false("wrong distance", asked, memory.number, answer))
        sent = [hit["distance"] for hit in hits]
        if any(after < before for before, after in pairwise(sent)):
            findings.append(self._false("wrong order", asked, -1, answer))
        if answer["count"] != len(hits) or len(hits) > asked.top_k or answer["partial"]:
            findings.append(self._false("wrong count, or partial", asked, -1, answer))
        farthest = sent[-1] if len(hits) >= asked.top_k else NEVER
        for number in self._missed(asked, distances, farthest, found):
            findings.append(self._behind(LACKS, asked, number, answer["served_by"]))
        return findings

    def _missed(
        self,
        asked: Asked,
        distances: NDArray[np.float32],
        farthest: float,
        found: set[int],
    ) -> list[int]:
        """Memories that were there all the time and are nearer than the farthest hit."""
        count = len(distances)
        there = self._there_from[:count] < asked.known_at
        stays = self._there_until[:count] == NEVER
        near = distances < farthest - DISTANCE_TOLERANCE
        return [int(n) for n in np.flatnonzero(there & stays & near) if int(n) not in found]

    def check_record(self, asked: Asked, record: dict[str, Any]) -> list[Finding]:
        """Return everything wrong with one record that was read."""
        return self._look_at(asked, record, "")[1]

    def _look_at(
        self, asked: Asked, hit: dict[str, Any], served_by: str
    ) -> tuple[Memory | None, list[Finding]]:
        if hit["agent_id"] != self.agent:
            return None, [Finding("false", "another agent's memory", self.agent, -1, asked)]
        number = hit["metadata"].get("n", -1)
        if not 0 <= number < len(self.memories):
            return None, [Finding("false", "never sent", self.agent, -1, asked)]
        memory = self.memories[number]
        findings = []
        if memory.id is None or hit["id"] == memory.id:
            wrong = [name for name, value in memory.shown.items() if hit[name] != value]
            if wrong or not memory.may_have_reward(hit["reward"]):
                what = f"another record: {wrong or hit['reward']}"
                findings.append(Finding("false", what, self.agent, number, asked, served_by))
        else:
            memory.other_ids.add(hit["id"])
        if memory.deleted_at < asked.known_at:
            findings.append(self._behind(SHOWS_DELETED, asked, number, served_by))
        if memory.outcome_at < asked.known_at and hit["reward"] is None:
            findings.append(self._behind(LACKS_OUTCOME, asked, number, served_by))
        return memory, findings

    def missed(self, asked: Asked, memory: Memory) -> list[Finding]:
        """Check an answer that a memory does not exist, requested by its id."""
        if memory.must_be_there and memory.confirmed_at < asked.known_at:
            return [self._behind("does not find an id", asked, memory.number, "")]
        return []

    def _behind(self, what: str, asked: Asked, number: int, served_by: str) -> Finding:
        return Finding("behind", what, self.agent, number, asked, served_by)

    def _false(self, what: str, asked: Asked, number: int, answer: dict[str, Any]) -> Finding:
        return Finding("false", what, self.agent, number, asked, str(answer["served_by"]))
