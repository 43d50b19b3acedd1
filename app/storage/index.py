"""Creates indexes when they are needed, rebuilds lost ones, and checks that they fit the settings.

Searches use an index's alias, and only a complete index gets the alias. So a search sees a complete
index or none; while a lost one is rebuilt, the answer is 503 and never a partial result.

Also holds EF_RUNTIME for each kind of HNSW index, and the partition of each agent and of the
semantic memory in either layout.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from app import keys
from app.errors import (
    IndexMismatch,
    IndexRebuilding,
    MemoryServiceError,
    StorageError,
    StorageLoading,
    StorageTimeout,
    StorageUnavailable,
)
from app.model import EpisodicFilter, IndexKind
from app.nodes.client import Client, execute
from app.nodes.commands import Words, slices
from app.nodes.health import Probe
from app.nodes.node import RedisNode
from app.nodes.reads import ReadRouter
from app.nodes.redis_errors import IndexMissing, translated
from app.nodes.shard import Shard, Shards
from app.settings import Layout, VectorType
from app.storage.index_info import (
    INFO_BATCH,
    ask_indexes,
    index_names,
    read_info,
    unless_exists,
)
from app.storage.query_syntax import conjunction, episodic_conditions
from app.storage.schema import (
    Algorithm,
    IndexInfo,
    IndexSchema,
    episodic_schema,
    retired_schema,
    semantic_history_schema,
    semantic_schema,
    shared_episodic_schema,
)
from app.vectors import VectorFormat

POLL_INTERVAL_S = 0.02
NAMES_TIMEOUT_S = 0.7
"""How long a group may take to name its indexes: less than a part of /readyz may."""
ENSURED_AT_A_TIME = 16
CREATION_TRIES = 3
SCHEMAS_KEPT = 10_000
"""Agents whose schema is cached; about 600 bytes each."""
MAX_KNOWN = 200_000
"""How many index names a process remembers as present: at most about 30 MB."""


class Indexes:
    """The indexes of the whole memory. Each is created and checked on the master of its shard."""

    def __init__(
        self,
        shards: Shards,
        *,
        layout: Layout,
        dimension: int,
        wait_s: float,
        vector_type: VectorType = "float32",
    ) -> None:
        self._shards = shards
        self.layout = layout
        self.dimension = dimension
        self.stored_as = VectorFormat(dimension, vector_type)
        self._wait_s = wait_s
        self._known: set[str] = set()
        self._on_hnsw: set[str] = set()
        self.effort = SearchEffort()
        self._locks: dict[str, asyncio.Lock] = {}
        self._of_agent = lru_cache(SCHEMAS_KEPT)(self._episodic)

    def episodic(self, agent_id: str) -> IndexSchema:
        """Return the index of one agent's experiences."""
        if self.layout == "shared":
            return shared_episodic_schema(self.stored_as)
        is_moved = self._on_hnsw and keys.episodic_index(agent_id) in self._on_hnsw
        return self._of_agent(agent_id, "HNSW" if is_moved else "FLAT")

    def _episodic(self, agent_id: str, algorithm: Algorithm) -> IndexSchema:
        return episodic_schema(agent_id, self.stored_as, algorithm)

    def alias_to_require(self, agent_id: str) -> str:
        """Return the index without which a new partition of this agent must not be started."""
        return keys.EPISODIC_INDEX if self.layout == "shared" else keys.episodic_index(agent_id)

    def current(self, schema: IndexSchema) -> IndexSchema:
        """Return the schema that was last found behind the alias.

        May be stale. That is safe: searching with the wrong schema fails in the engine and costs
        one extra round trip.
        """
        if not schema.movable:
            return schema
        return schema.as_("HNSW" if schema.alias in self._on_hnsw else "FLAT")

    async def look_again(self, node: Client, schema: IndexSchema) -> None:
        """Find out which algorithm is behind the alias on this node. Raise IndexMissing."""
        (found,) = await read_info(node, [schema.alias])
        self._check(self._as_found(schema, found), found)

    def retired(self, agent_id: str) -> IndexSchema:
        """Return the index of what retired from the memories on this agent's shard."""
        return retired_schema(agent_id, self.stored_as)

    def semantic(self) -> IndexSchema:
        """Return the index of the swarm's concepts."""
        return semantic_schema(self.stored_as)

    def semantic_history(self) -> IndexSchema:
        """Return the index of concept revisions."""
        return semantic_history_schema(self.stored_as)

    async def ensure(self, schema: IndexSchema) -> None:
        """Make sure that the next writes under the schema's prefix will be found.

        Raise IndexMismatch if an index with this name has another schema.
        """
        place = self._place(schema)
        if place in self._known:
            return
        lock = self._locks.setdefault(place, asyncio.Lock())
        async with lock:
            if place not in self._known:
                await self._create_or_check(schema)
                self._remember(place)
        self._locks.pop(place, None)

    def _place(self, schema: IndexSchema) -> str:
        """Return the name under which an index is known, on its shard if each has one."""
        if not schema.home:
            return schema.alias
        return f"{schema.alias} {self._shards.shard_of(schema.home).name}"

    async def ensure_all(self, schemas: Iterable[IndexSchema]) -> None:
        """Ensure all of these, several at a time: a batch may bring a thousand new agents."""
        for error in (await self.ensure_each(schemas)).values():
            raise error

    async def ensure_each(self, schemas: Iterable[IndexSchema]) -> dict[str, StorageError]:
        """Ensure all of these. Return the errors by alias."""
        refused: dict[str, StorageError] = {}

        async def ensure(schema: IndexSchema) -> None:
            try:
                await self.ensure(schema)
            except StorageError as error:
                refused[schema.alias] = error

        missing = [schema for schema in schemas if schema.alias not in self._known]
        for part in slices(missing, ENSURED_AT_A_TIME):
            await asyncio.gather(*map(ensure, part))
        return refused

    async def heal(self, schema: IndexSchema) -> None:
        """Rebuild an index that a search found missing. Return once it is complete.

        Raise IndexRebuilding if that takes longer than the service may wait. The rebuilding
        continues, and the next question waits for it again.
        """
        self._known.discard(self._place(schema))
        await self.ensure(schema)

    async def heal_each(self, schemas: Iterable[IndexSchema]) -> None:
        """Heal all of these. Raise StorageError."""
        missing = list(schemas)
        self._known.difference_update(schema.alias for schema in missing)
        await self.ensure_all(missing)

    async def ask(
        self, node: RedisNode, schema: IndexSchema, commands: Sequence[Words]
    ) -> list[Any] | None:
        """Return one index's replies to these commands. None if nothing was ever stored there.

        A lost index is rebuilt first. Raise IndexRebuilding while the node builds it, or
        StorageError.
        """
        asked = [(schema.alias, words) for words in commands]
        replies = await ask_indexes(node, asked)
        if any(isinstance(reply, IndexMissing) for reply in replies):
            if not await self.recover(node.client, schema):
                return None
            replies = await ask_indexes(node, asked)
        for reply in replies:
            if isinstance(reply, IndexMissing):
                raise IndexRebuilding("The index was lost again: try again.", retry_after_s=1)
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def recover(self, node: Client, schema: IndexSchema) -> bool:
        """Handle an index that `node` reported missing.

        Return False if nothing was ever stored there, so that an empty answer is correct. Return
        True if the index was lost and is complete again, so that the search should be repeated.
        Raise as `heal` does.
        """
        with translated():
            has_data = bool(await node.exists(schema.partition))
        if not has_data:
            await self._shards.require_here(schema.partition)
        if has_data:
            await self.heal(schema)
        return has_data

    def forget(self) -> None:
        """Check every index before the next write: a new master may lack the latest ones."""
        self._known.clear()

    async def verify(self) -> None:
        """Check the indexes of every master, as `verify_on` does."""
        for master in self._shards.masters:
            await self.verify_on(master)

    async def verify_on(self, node: RedisNode) -> None:
        """Check every index of a master, and add fields that a former release did not index.

        Raise IndexMismatch for one that does not fit.
        """
        master = node.client
        prefixes = (
            *(keys.EPISODIC_INDEX, keys.RETIRED_INDEX),
            *(keys.SEMANTIC_INDEX, keys.SEMANTIC_HISTORY_INDEX),
        )
        ours = [name for name in await index_names(master) if name.startswith(prefixes)]
        is_whole = True
        for some in slices(ours, INFO_BATCH):
            for info in await read_info(master, some):
                await self._fit(master, self._expected(info.name), info)
                is_whole &= info.is_complete
        node.set_indexes_ready(is_whole)
        for name in ours:
            alias, _, algorithm = name.rpartition(":")
            if (
                algorithm == "hnsw"
                and f"{alias}:flat" not in ours
                and len(self._on_hnsw) < MAX_KNOWN
            ):
                self._on_hnsw.add(alias)

    def misfit(self, found: IndexInfo) -> str | None:
        """Return how an existing index differs from the settings. None if it fits."""
        schema = self._expected(found.name)
        try:
            self._check(schema, _extended(schema, found))
        except IndexMismatch as error:
            return error.detail
        missing = [name for name, _ in schema.missing_fields(found)]
        if not missing:
            return None
        return (
            f"The index {found.name} was created by a former release and lacks "
            f"{', '.join(missing)}: the service adds the missing fields when it starts."
        )

    def _expected(self, name: str) -> IndexSchema:
        alias = name.rpartition(":")[0]
        if alias == keys.SEMANTIC_INDEX:
            return self.semantic()
        if alias == keys.SEMANTIC_HISTORY_INDEX:
            return self.semantic_history()
        if alias == keys.EPISODIC_INDEX:
            return shared_episodic_schema(self.stored_as)
        if alias == keys.RETIRED_INDEX:
            return self.retired("")
        agent_id = keys.index_owner(alias)
        algorithm: Algorithm = "HNSW" if name.endswith(":hnsw") else "FLAT"
        return self._episodic(agent_id, algorithm)

    def _check(self, schema: IndexSchema, found: IndexInfo) -> None:
        if found.name != schema.name:
            raise IndexMismatch(
                f"The index {found.name} was not created by this service: drop it with "
                f"FT.DROPINDEX {found.name} (the stored memories stay), then start again."
            )
        differences = schema.differences(found)
        if differences:
            raise IndexMismatch(
                f"The index {found.name} does not fit the settings ({'; '.join(differences)}): "
                f"{self._advice(found)}"
            )

    def _advice(self, found: IndexInfo) -> str:
        """Return what to do about an index that was made with other settings."""
        if found.dimension != self.dimension:
            return "set MEMORY_DIMENSION to that of the stored memories, or use another Redis."
        if found.data_type != self.stored_as.engine_type:
            return (
                f"set MEMORY_VECTOR_TYPE to {found.data_type.lower()}, or export and import the "
                "memories (docs/runbooks/change-vector-type.md)."
            )
        return "use another Redis."

    async def _fit(self, master: Client, schema: IndexSchema, found: IndexInfo) -> None:
        """Check an index, and add missing fields in place while it serves searches."""
        extended = _extended(schema, found)
        self._check(schema, extended)
        for name, kind in schema.missing_fields(found):
            await unless_exists(master, schema.add_field_command(name, kind))

    def _as_found(self, schema: IndexSchema, found: IndexInfo) -> IndexSchema:
        """Return the schema for the index behind the alias, and remember its algorithm."""
        if not schema.movable:
            return schema
        schema = schema.as_("HNSW" if found.name == schema.as_("HNSW").name else "FLAT")
        if schema.algorithm == "FLAT":
            self._on_hnsw.discard(schema.alias)
        elif len(self._on_hnsw) < MAX_KNOWN:
            self._on_hnsw.add(schema.alias)
        return schema

    def _master_of(self, schema: IndexSchema) -> Client:
        master = self._shards.shard_of(schema.route).master
        master.require_up()
        return master.client

    def _remember(self, place: str) -> None:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known.add(place)

    async def _create_or_check(self, schema: IndexSchema) -> None:
        for _ in range(CREATION_TRIES):
            try:
                (found,) = await read_info(self._master_of(schema), [schema.alias])
            except IndexMissing:
                try:
                    return await self._create(schema)
                except IndexMissing:  # another process has dropped it to scan
                    continue
            return await self._fit(self._master_of(schema), self._as_found(schema, found), found)
        raise IndexRebuilding(
            f"The index {schema.alias} is being rebuilt: try again shortly.", retry_after_s=1
        )

    async def _create(self, schema: IndexSchema) -> None:
        """Create the index, over existing data if there is any.

        An index that may use either algorithm starts as FLAT, which is built at 55,000 vectors a
        second (HNSW: about 2,000); a large one is moved again later.

        A scan walks all keys of the Redis, so a new partition does without. If another process
        writes to the partition in between, the second check finds that out and scans.
        """
        if schema.movable:
            schema = schema.as_("FLAT")
            self._on_hnsw.discard(schema.alias)
        master = self._master_of(schema)
        scans = await _has_data(master, schema)
        created = await unless_exists(master, schema.create_command(scan=scans))
        if created and not scans and await _has_data(master, schema):
            scans = True
            with translated():
                await execute(master, "FT.DROPINDEX", schema.name)
            await unless_exists(master, schema.create_command(scan=True))
        await self._wait_until_complete(master, schema)
        if scans:
            await _require_some_fit(master, schema)
            await self._wait_for_replicas(schema)
        await unless_exists(master, ("FT.ALIASADD", schema.alias, schema.name))

    async def _wait_for_replicas(self, schema: IndexSchema) -> None:
        """Wait for the scans on replicas, because the alias reaches them as soon as it is set.

        Only replicas in rotation count; any other is checked before it gets reads again.
        """
        replicas = self._shards.shard_of(schema.route).replicas
        in_rotation = [node.client for node in replicas if node.status.in_rotation]
        await asyncio.gather(*(self._wait_for_replica(client, schema) for client in in_rotation))

    async def _wait_for_replica(self, replica: Client, schema: IndexSchema) -> None:
        give_up_at = time.monotonic() + self._wait_s
        while time.monotonic() < give_up_at:
            try:
                return await self._wait_until_complete(replica, schema)
            except IndexMissing:  # not replicated yet
                await asyncio.sleep(POLL_INTERVAL_S)
            except (StorageUnavailable, StorageTimeout, StorageLoading):
                return None  # out of rotation in a moment
        raise _rebuilding(schema, 0.0)

    async def _wait_until_complete(self, node: Client, schema: IndexSchema) -> None:
        give_up_at = time.monotonic() + self._wait_s
        while True:
            (info,) = await read_info(node, [schema.name])
            self._check(schema, info)
            if info.is_complete:
                return
            if time.monotonic() >= give_up_at:
                raise _rebuilding(schema, info.progress)
            await asyncio.sleep(POLL_INTERVAL_S)


def _extended(schema: IndexSchema, found: IndexInfo) -> IndexInfo:
    """Return the index's info with the fields that it lacks."""
    missing = tuple((name, kind[0]) for name, kind in schema.missing_fields(found))
    return replace(found, fields=(*found.fields, *missing))


async def _has_data(master: Client, schema: IndexSchema) -> bool:
    with translated():
        return bool(await master.exists(schema.partition))


async def _require_some_fit(master: Client, schema: IndexSchema) -> None:
    """Drop an index that accepted none of the stored memories, because every answer would be empty.

    The index was lost, and the settings differ from those of the stored memories. Raise
    IndexMismatch.
    """
    (info,) = await read_info(master, [schema.name])
    if info.failures and not info.documents:
        with translated():
            await execute(master, "FT.DROPINDEX", schema.name)
        raise IndexMismatch(
            f"None of the {info.failures} memories under {schema.prefix} fits an index of "
            f"{schema.stored_as.dimension} numbers, {schema.stored_as.type}: set MEMORY_DIMENSION "
            "and MEMORY_VECTOR_TYPE to those of the stored memories."
        )


def _rebuilding(schema: IndexSchema, progress: float) -> IndexRebuilding:
    return IndexRebuilding(
        f"The index {schema.alias} was lost and is being rebuilt ({progress:.0%}): try again "
        "shortly.",
        retry_after_s=1,
    )


def index_probe(reads: ReadRouter, indexes: Indexes) -> Probe:
    """Return a probe that counts the indexes by kind. It raises StorageError."""

    async def probe() -> Mapping[str, object]:
        names: set[str] = set()
        silent: list[str] = []

        async def ask(shard: Shard) -> None:
            try:
                async with asyncio.timeout(NAMES_TIMEOUT_S if shard.name else None):
                    names.update(await reads.read_on(shard, index_names))
            except (MemoryServiceError, TimeoutError):
                if not shard.name:
                    raise
                silent.append(shard.name)

        await asyncio.gather(*map(ask, reads.shards))
        told = {"layout": indexes.layout, "dimension": indexes.dimension, "indexes": len(names)}
        if not silent:
            return told
        return {**told, "status": "degraded", "unanswered_groups": sorted(silent)}

    return probe


class SearchEffort:
    """EF_RUNTIME by kind of index. Until it is set, the index's own value applies."""

    def __init__(self) -> None:
        self._ef_runtime: dict[IndexKind, int] = {}

    def set(self, kind: IndexKind, ef_runtime: int) -> None:
        """Set how many candidates searches in such indexes keep."""
        self._ef_runtime[kind] = ef_runtime

    def attribute(self, schema: IndexSchema) -> str:
        """Return the attribute for a KNN clause on this index, with a space before; or empty."""
        ef_runtime = self._ef_runtime.get(kind_of(schema))
        return "" if ef_runtime is None else f" EF_RUNTIME {ef_runtime}"


def kind_of(schema: IndexSchema) -> IndexKind:
    """Return the kind of this index."""
    if schema.alias == keys.SEMANTIC_INDEX:
        return "semantic"
    return "shared" if schema.alias == keys.EPISODIC_INDEX else "episodic"


_NO_FILTER = EpisodicFilter()


@dataclass(frozen=True, slots=True)
class Partition:
    """One agent's memories, or the swarm's concepts if `agent_id` is None.

    `counter` is the hash whose field `seq` counts the memories ever written here. `conditions`
    select this partition's memories in the index of `schema`.
    """

    agent_id: str | None
    schema: IndexSchema
    prefix: str
    counter: str
    conditions: tuple[str, ...]

    def query(self, *conditions: str) -> str:
        """Return the query for this partition's memories that also meet these conditions."""
        return conjunction((*self.conditions, *conditions))


def retired_of(indexes: Indexes, agent_id: str) -> Partition:
    """Return what retired from an agent's memory."""
    return Partition(
        agent_id=agent_id,
        schema=indexes.retired(agent_id),
        prefix=keys.RETIRED_PREFIX,
        counter=keys.episodic_partition(agent_id),
        conditions=episodic_conditions(_NO_FILTER, only_agent=agent_id),
    )


def partition_of(indexes: Indexes, agent_id: str | None) -> Partition:
    """Return the partition of an agent, or of the semantic memory for None."""
    if agent_id is None:
        prefix = keys.semantic_memory("")
        return Partition(None, indexes.semantic(), prefix, keys.SEMANTIC_PARTITION, ())
    is_shared = indexes.layout == "shared"
    return Partition(
        agent_id=agent_id,
        schema=indexes.episodic(agent_id),
        prefix=keys.episodic_prefix(agent_id),
        counter=keys.episodic_partition(agent_id),
        conditions=episodic_conditions(_NO_FILTER, only_agent=agent_id if is_shared else None),
    )
