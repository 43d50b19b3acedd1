"""What an owner says of a memory later: its quality, once; its priority, whenever it likes."""

from collections.abc import Callable

import orjson

from app.errors import MemoryNotFound, Overloaded, QualityConflict
from app.memory.outcome import ChangedMemory
from app.rate_limit import AgentAdmission
from app.schemas import EpisodicPatch
from app.storage.episodic_store import EpisodicRecord, EpisodicStore

MAX_TRIES = 5
"""Two callers that change the same memory collide once; more is somebody's endless loop."""


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
        for _ in range(MAX_TRIES):
            read = await self._store.fetch(agent_id, memory_id)
            if read is None:
                raise MemoryNotFound(
                    f"Agent {agent_id} has no memory {memory_id}: check both names."
                )
            record: EpisodicRecord = orjson.loads(read.record)
            rated = self._rated(record, request)
            if rated == record:
                await self._store.confirm(agent_id)
                return ChangedMemory(read.record, None)
            token = await self._store.rate(agent_id, memory_id, read, rated)
            if token is not None:
                return ChangedMemory(orjson.dumps(rated), token)
        raise Overloaded("Others keep changing this memory: try again.", retry_after_s=1)

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
