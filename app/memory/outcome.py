"""An open memory is closed once."""

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from app.errors import InvalidInput, MemoryNotFound, OutcomeConflict, Overloaded
from app.rate_limit import AgentAdmission
from app.schemas import Outcome
from app.storage.episodic_store import EpisodicRecord, EpisodicStore

MAX_TRIES = 5
"""Two callers that close the same memory collide once; more is somebody's endless loop."""


@dataclass(frozen=True, slots=True)
class ChangedMemory:
    """A memory as it is now; `token` is None when it was so already."""

    record: bytes
    token: str | None


class OutcomeOperations:
    """Closes open memories. `now` gives unix seconds."""

    def __init__(
        self, store: EpisodicStore, now: Callable[[], float], admit: AgentAdmission
    ) -> None:
        self._admit = admit
        self._store = store
        self._now = now

    async def close(self, agent_id: str, memory_id: str, outcome: Outcome) -> ChangedMemory:
        """Set the outcome, or find this very one set.

        Raises MemoryNotFound, OutcomeConflict when another outcome is known, InvalidInput when it
        would have been known before the state.
        """
        await self._admit(agent_id)
        for _ in range(MAX_TRIES):
            read = await self._store.fetch(agent_id, memory_id)
            if read is None:
                raise MemoryNotFound(
                    f"Agent {agent_id} has no memory {memory_id}: check both names."
                )
            record: EpisodicRecord = orjson.loads(read.record)
            if record["reward"] is not None:
                _require_same(record, outcome)
                await self._store.confirm(agent_id)
                return ChangedMemory(read.record, None)
            closed = self._closed(record, outcome)
            token = await self._store.close(agent_id, memory_id, read, closed)
            if token is not None:
                return ChangedMemory(orjson.dumps(closed), token)
        raise Overloaded("Others keep changing this memory: try again.", retry_after_s=1)

    def _closed(self, record: EpisodicRecord, outcome: Outcome) -> EpisodicRecord:
        timestamp = record["timestamp"]
        if outcome.outcome_at is not None and outcome.outcome_at < timestamp:
            raise InvalidInput("outcome_at: must not be before timestamp.", field="outcome_at")
        known_at = outcome.outcome_at
        return record | {
            "reward": outcome.reward,
            "outcome_at": max(self._now(), timestamp) if known_at is None else known_at,
            "terminal": record["terminal"] if outcome.terminal is None else outcome.terminal,
        }


def _require_same(record: EpisodicRecord, outcome: Outcome) -> None:
    given = outcome.model_dump(exclude_none=True)
    if any(record[name] != value for name, value in given.items()):
        raise OutcomeConflict(
            # Not which: that may be the future of the one who asks.
            f"Memory {record['id']} is closed with another outcome: an outcome is given once."
        )
