"""An open memory is closed once."""

from collections.abc import Callable

from app.errors import InvalidInput, OutcomeConflict
from app.memory.change import ChangedMemory, changed_memory
from app.rate_limit import AgentAdmission
from app.schemas import Outcome
from app.storage.episodic_store import EpisodicRecord, EpisodicStore


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
        return await changed_memory(
            self._store,
            agent_id,
            memory_id,
            change=lambda record: self._closed(record, outcome),
            write=self._store.close,
        )

    def _closed(self, record: EpisodicRecord, outcome: Outcome) -> EpisodicRecord:
        if record["reward"] is not None:
            _require_same(record, outcome)
            return record
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
