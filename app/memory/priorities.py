"""How much a prioritized sample wants memories: many changed at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from app.auth import caller
from app.auth.limits import AgentAdmission
from app.contract.requests import EpisodicPriorities
from app.errors import Overloaded
from app.memory.episodic import MAX_TRIES
from app.storage.episodic import EpisodicRecord, ExperienceStore


@dataclass(frozen=True, slots=True)
class Priorities:
    """The result of new priorities. `token` is None if nothing had to be written."""

    changed: int
    missing: list[str]
    token: str | None


@dataclass(frozen=True, slots=True)
class _Try:
    """One try. `left`: the priorities of memories that changed meanwhile."""

    changed: int
    missing: list[str]
    token: str | None
    left: dict[str, float]


class PriorityOperations:
    """Changes priorities. `now` gives unix seconds."""

    def __init__(
        self, store: ExperienceStore, now: Callable[[], float], admit: AgentAdmission
    ) -> None:
        self._store = store
        self._now = now
        self._admit = admit

    async def change(self, request: EpisodicPriorities) -> Priorities:
        """Give many memories of an agent new priorities, in two round trips.

        A memory that somebody else changes meanwhile is tried again. Raise StorageError, and
        Overloaded when others keep changing it; what was written before stays.
        """
        caller.require_batch("priorities", len(request.priorities))
        await self._admit(request.agent_id)
        left = {item.id: item.priority for item in request.priorities}
        changed, missing, token = 0, list[str](), None
        for _ in range(MAX_TRIES):
            tried = await self._try(request.agent_id, left)
            changed += tried.changed
            missing += tried.missing
            token = tried.token or token
            left = tried.left
            if not left:
                if token is None:
                    await self._store.confirm(request.agent_id)
                return Priorities(changed, missing, token)
        raise Overloaded("Others keep changing these memories: try again.", retry_after_s=1)

    async def _try(self, agent_id: str, wanted: Mapping[str, float]) -> _Try:
        found = await self._store.fetch_records(agent_id, list(wanted))
        missing = [name for name, record in found.items() if record is None]
        now = self._now()
        changes: dict[str, tuple[bytes, EpisodicRecord]] = {}
        for name, read in found.items():
            if read is None:
                continue
            record: EpisodicRecord = orjson.loads(read)
            if record.get("priority") != wanted[name]:
                changes[name] = (read, record | {"priority": wanted[name], "priority_at": now})
        if not changes:
            return _Try(0, missing, None, {})
        written, token = await self._store.rate_many(agent_id, changes)
        left = {name: wanted[name] for name in changes if name not in written}
        return _Try(len(written), missing, token, left)
