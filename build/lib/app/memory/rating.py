"""What an owner says of a memory later: its quality, once; its priority, whenever it likes."""

from collections.abc import Callable

from app.errors import QualityConflict
from app.memory.change import ChangedMemory, changed_memory
from app.rate_limit import AgentAdmission
from app.schemas import EpisodicPatch
from app.storage.episodic_store import EpisodicRecord, EpisodicStore


class RatingOperations:
    """Rates memories. `now` gives unix seconds."""

    def __init__(
        self, store: EpisodicStore, now: Callable[[], float], admit: AgentAdmission
    ) -> None:
        self._admit = admit
        self._store = store
        self._now = now

    async def rate(self, agent_id: str, memory_id: str, request: EpisodicPatch) -> ChangedMemory:
        """Give a memory these ratings, or find that it has them.

        A quality is given once, so that what was shared at a moment can be told for ever. Raises
        MemoryNotFound, QualityConflict when another one is given.
        """
        await self._admit(agent_id)
        return await changed_memory(
            self._store,
            agent_id,
            memory_id,
            change=lambda record: self._rated(record, request),
            write=self._store.rate,
        )

    def _rated(self, record: EpisodicRecord, request: EpisodicPatch) -> EpisodicRecord:
        rated, now = dict(record), self._now()
        quality, priority = request.quality, request.priority
        if quality is not None:
            if record.get("quality", quality) != quality:
                raise QualityConflict(
                    f"Memory {record['id']} has another quality: a quality is given once."
                )
            if "quality" not in record:
                rated |= {"quality": quality, "quality_at": now}
        if priority is not None and record.get("priority") != priority:
            rated |= {"priority": priority, "priority_at": now}
        return rated
