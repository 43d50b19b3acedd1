"""Stores experiences in Redis as hashes, and reads them back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from app import keys
from app.errors import MemoryServiceError
from app.model import EpisodicMemory, Stored, horizon_name
from app.storage.index import Indexes
from app.storage.memories import (
    NO_QUOTA,
    FieldValue,
    IndexGone,
    MemoryStore,
    Quota,
    StoreCommand,
    StoredHash,
    decoded,
)
from app.storage.query_syntax import TAG_SEPARATOR, stored_tag, truth_tag
from app.storage.retired.memories import RetiredExperiences
from app.storage.schema import IndexSchema
from app.vectors import VectorFormat

EpisodicRecord = dict[str, Any]
"""A decoded record."""

VECTOR_FIELDS = ("state_vector", "next_state_vector")

TRIES_WITH_INDEX = 5
"""Between two tries an agent may lose its last memory, and so its index, again."""


RATING_FIELDS = (
    "quality",
    "quality_at",
    "quality_recorded_at",
    "priority",
    "priority_at",
    "priority_recorded_at",
)
"""Present in hash and record only if they were given."""


class ExperienceStore:
    """Writes, reads and deletes experiences."""

    def __init__(self, store: MemoryStore, indexes: Indexes, retired: RetiredExperiences) -> None:
        self._store = store
        self._retired = retired
        self._indexes = indexes

    def prepared(self, memory: EpisodicMemory) -> StoreCommand:
        """Return the experience in the form that goes to Redis.

        A batch prepares the next slice while the previous one is with Redis.
        """
        command = _prepared(memory, self._indexes.stored_as)
        command.index = self._indexes.alias_to_require(memory.agent_id)
        return command

    async def store_many(
        self, memories: Sequence[EpisodicMemory], quota: Quota = NO_QUOTA
    ) -> tuple[list[Stored | MemoryServiceError], str]:
        """Store as `store_prepared` does."""
        return await self.store_prepared([self.prepared(memory) for memory in memories], quota)

    async def store_prepared(
        self, commands: Sequence[StoreCommand], quota: Quota = NO_QUOTA
    ) -> tuple[list[Stored | MemoryServiceError], str]:
        """Store as MemoryStore.store_many does. Each created memory can be found afterwards.

        Memories of an agent whose index cannot be created are refused; the others are stored. If an
        agent's index is removed with its last memory during the store, it is created again.
        """
        outcomes, token = await self._store_with_indexes(commands, quota)
        for tried in range(TRIES_WITH_INDEX):
            lost = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, IndexGone)]
            if not lost or tried == TRIES_WITH_INDEX - 1:
                break
            await self._indexes.heal_each(
                {commands[i].index: self._schema_of(commands[i]) for i in lost}.values()
            )
            again, token = await self._store_with_indexes([commands[i] for i in lost], quota)
            for i, outcome in zip(lost, again, strict=True):
                outcomes[i] = outcome
        return outcomes, token

    def _schema_of(self, command: StoreCommand) -> IndexSchema:
        return self._indexes.episodic(keys.partition_owner(command.partition))

    async def _store_with_indexes(
        self, commands: Sequence[StoreCommand], quota: Quota
    ) -> tuple[list[Stored | MemoryServiceError], str]:
        agents = sorted({keys.partition_owner(command.partition) for command in commands})
        await self._store.shards.place(agents)
        schemas = {agent_id: self._indexes.episodic(agent_id) for agent_id in agents}
        refused = await self._indexes.ensure_each(schemas.values())
        if not refused:
            return await self._store.store_many(commands, quota=quota)
        errors = [
            refused.get(schemas[keys.partition_owner(command.partition)].alias)
            for command in commands
        ]
        kept = [i for i, error in enumerate(errors) if error is None]
        if not kept:
            raise next(iter(refused.values()))
        outcomes: list[Stored | MemoryServiceError | None] = [*errors]
        stored, token = await self._store.store_many([commands[i] for i in kept], quota=quota)
        for i, outcome in zip(kept, stored, strict=True):
            outcomes[i] = outcome
        return [outcome for outcome in outcomes if outcome is not None], token

    async def fetch(self, agent_id: str, memory_id: str) -> StoredHash | None:
        """Return one experience. None if it does not exist."""
        key = keys.episodic_memory(agent_id, memory_id)
        return decoded(await self._store.fetch(key, VECTOR_FIELDS), self._indexes.stored_as)

    async def fetch_as_of(self, agent_id: str, memory_id: str, as_of: float) -> StoredHash | None:
        """Return one experience that had not retired at a moment. None if it does not exist."""
        if as_of < (await self._retired.moments(agent_id)).newest:
            found = await self._retired.find(agent_id, memory_id, as_of, VECTOR_FIELDS)
            if found is not None:
                return decoded(found, self._indexes.stored_as)
        return await self.fetch(agent_id, memory_id)

    async def whole_since(self, agent_id: str, as_of: float | None) -> float | None:
        """Return since when an agent's experiences are complete; None if they are at a moment."""
        if as_of is None:
            return None
        return (await self._retired.moments(agent_id)).whole_since(agent_id, as_of)

    async def close(
        self, agent_id: str, memory_id: str, read: StoredHash, closed: EpisodicRecord
    ) -> str | None:
        """Record the outcome of an open experience. Returns the same as MemoryStore.update."""
        return await self._store.update(
            keys.episodic_memory(agent_id, memory_id),
            keys.episodic_partition(agent_id),
            read.record,
            _outcome_fields(closed),
            by="outcome",
        )

    async def rate(
        self, agent_id: str, memory_id: str, read: StoredHash, rated: EpisodicRecord
    ) -> str | None:
        """Record its owner's rating. Returns the same as MemoryStore.update."""
        return await self._store.update(
            keys.episodic_memory(agent_id, memory_id),
            keys.episodic_partition(agent_id),
            read.record,
            _rating_fields(rated),
            by="rating",
        )

    async def fetch_records(
        self, agent_id: str, memory_ids: Sequence[str]
    ) -> dict[str, bytes | None]:
        """Return the record of each of these experiences. None for one that does not exist."""
        found = await self._store.fetch_records(
            [keys.episodic_memory(agent_id, memory_id) for memory_id in memory_ids],
            keys.episodic_partition(agent_id),
        )
        return dict(zip(memory_ids, found, strict=True))

    async def rate_many(
        self, agent_id: str, changes: Mapping[str, tuple[bytes, EpisodicRecord]]
    ) -> tuple[set[str], str]:
        """Record ratings of many experiences, given each record as it was read and as it becomes.

        Return the ids of those that had not changed since they were read, and the token.
        """
        updates = {
            keys.episodic_memory(agent_id, memory_id): (read, _rating_fields(rated))
            for memory_id, (read, rated) in changes.items()
        }
        outcomes, token = await self._store.update_many(
            updates, keys.episodic_partition(agent_id), by="rating"
        )
        names = zip(changes, outcomes, strict=True)
        return {memory_id for memory_id, is_written in names if is_written}, token

    async def confirm(self, agent_id: str) -> None:
        """Wait as MemoryStore.confirm does, for this agent's experiences."""
        await self._store.confirm(keys.episodic_partition(agent_id))

    async def delete(self, agent_id: str, memory_id: str) -> bool:
        """Delete one experience for good, present or retired. Return whether it existed."""
        key, partition = (
            keys.episodic_memory(agent_id, memory_id),
            keys.episodic_partition(agent_id),
        )
        is_present = await self._store.delete([key], partition) > 0
        # After it: it may retire meanwhile.
        return await self._retired.erase_id(agent_id, memory_id) > 0 or is_present


def _rating_fields(rated: EpisodicRecord) -> dict[str, FieldValue]:
    """Return the fields of the hash that a rating sets."""
    names = [name for name in RATING_FIELDS if name in rated]
    return {"record": orjson.dumps(rated), **{name: repr(rated[name]) for name in names}}


def _outcome_fields(closed: EpisodicRecord) -> dict[str, FieldValue]:
    """Return the fields that the index needs of a memory's outcomes, and the record."""
    fields: dict[str, FieldValue] = {"record": orjson.dumps(closed)}
    if closed["reward"] is not None:
        fields["reward"] = repr(closed["reward"])
        fields["outcome_at"] = repr(closed["outcome_at"])
        fields["terminal"] = truth_tag(closed["terminal"])
    if "outcome_recorded_at" in closed:
        fields["outcome_recorded_at"] = repr(closed["outcome_recorded_at"])
    if "outcomes" in closed:
        fields["horizons"] = horizons_field(closed["outcomes"])
    return fields


def horizons_field(outcomes: Iterable[Mapping[str, Any]]) -> str:
    """Return the names of the horizons in the form that the index takes."""
    return TAG_SEPARATOR.join(stored_tag(horizon_name(o["horizon"])) for o in outcomes)


def record_of(memory: EpisodicMemory) -> bytes:
    """Return the experience's record: JSON without vectors and without unset optional fields."""
    rare = {
        "quality": memory.quality,
        "priority": memory.priority,
        "episode_id": memory.episode_id,
        "step": memory.step,
        "scale": memory.scale,
        "outcomes": memory.outcomes or None,
    }
    return orjson.dumps(
        {
            "id": memory.id,
            "agent_id": memory.agent_id,
            "product_id": memory.product_id,
            "regime": memory.regime,
            "action": memory.action,
            "reward": memory.reward,
            "timestamp": memory.timestamp,
            "outcome_at": memory.outcome_at,
            "terminal": memory.terminal,
            "metadata": memory.metadata,
            "pinned": memory.pinned,
            "recorded_at": memory.recorded_at,
            **{name: value for name, value in rare.items() if value is not None},
        }
    )


def _prepared(memory: EpisodicMemory, stored_as: VectorFormat) -> StoreCommand:
    fields: dict[str, FieldValue] = {
        "state_vector": stored_as.encode(memory.state_vector),
        "record": record_of(memory),
        "agent_id": stored_tag(memory.agent_id),
        "product_id": stored_tag(memory.product_id),
        "regime": stored_tag(memory.regime),
        "timestamp": repr(memory.timestamp),
        "terminal": truth_tag(memory.terminal),
        "recorded_at": repr(memory.recorded_at),
    }
    if memory.pinned:
        fields["pinned"] = truth_tag(True)
    if memory.action is not None:
        fields["action"] = stored_tag(memory.action)
    if memory.outcomes:
        fields["horizons"] = horizons_field(memory.outcomes)
    for name in ("reward", "outcome_at", "quality", "priority"):
        value = getattr(memory, name)
        if value is not None:
            fields[name] = repr(value)
    if memory.episode_id is not None:
        fields["episode_id"] = stored_tag(memory.episode_id)
    if memory.step is not None:
        fields["step"] = memory.step
    if memory.next_state_vector is not None:
        fields["next_state_vector"] = stored_as.encode(memory.next_state_vector)
    return StoreCommand(
        memory_id=memory.id,
        key=keys.episodic_memory(memory.agent_id, memory.id),
        partition=keys.episodic_partition(memory.agent_id),
        digest=memory.digest,
        fields=fields,
    )
