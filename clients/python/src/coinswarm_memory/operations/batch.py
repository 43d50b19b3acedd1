"""Store many memories by one request, each with its own answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from coinswarm_memory.answers.stored import Refused
from coinswarm_memory.operations.problem import Problem
from coinswarm_memory.operations.request import Operation, post, reading

MAX_BATCH = 1000


class ItemResult(msgspec.Struct, frozen=True):
    """What became of one memory of a batch."""

    index: int
    status: str
    id: str | None = None
    error: Problem | None = None


class BatchReply(msgspec.Struct, frozen=True):
    """What became of a batch."""

    results: list[ItemResult]
    token: str | None = None


@dataclass(slots=True)
class Batch:
    """Memories of one agent to be sent. `positions` are their numbers in what was given."""

    agent_id: str
    memories: list[dict[str, Any]]
    positions: list[int]
    refused: list[Refused] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a reply settled, and which memories to send again, with the last reason."""

    created: int
    unchanged: int
    refused: list[Refused]
    again: Batch
    reason: Problem | None


_reply = reading(BatchReply)


def store_batch(
    memories: Sequence[Mapping[str, Any]], durability: str | None
) -> Operation[BatchReply]:
    """Store up to 1000 experiences, which carry their ids."""
    # As columns they are stored no faster than as JSON with base64, which needs no package.
    request = post("/v1/episodic/batch", {"memories": memories}, durability=durability)
    return Operation(request, _reply)


def count(batch: Batch, reply: BatchReply) -> Counted:
    """Return what became of each memory of a batch."""
    again = Batch(batch.agent_id, [], [])
    refused: list[Refused] = []
    created = 0
    reason: Problem | None = None
    for memory, position, result in zip(
        batch.memories, batch.positions, reply.results, strict=True
    ):
        problem = result.error
        if problem is None:
            created += result.status == "created"
        elif problem.retryable:
            reason = problem
            again.memories.append(memory)
            again.positions.append(position)
        else:
            refused.append(Refused(position, memory["id"], problem.code, problem.detail))
    unchanged = len(batch.memories) - created - len(refused) - len(again.memories)
    return Counted(created, unchanged, refused, again, reason)
