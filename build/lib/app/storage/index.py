"""Indexes come to be when they are needed, heal when they were lost, and are never guessed at.

An index is asked through its alias, and the alias is given only to an index that is complete. So
a search sees a whole index or none; while a lost one is rebuilt it is answered 503, not with the
part that is there so far.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import redis.exceptions as foreign
from redis.asyncio import Redis

from app.errors import (
    IndexMismatch,
    IndexRebuilding,
    StorageError,
    StorageLoading,
    StorageTimeout,
    StorageUnavailable,
)
from app.settings import Layout, VectorType
from app.storage import engine_version, keys
from app.storage.client import execute
from app.storage.pipelines import ask_each
from app.storage.redis_errors import IndexMissing, translate, translated
from app.storage.schema import (
    Algorithm,
    IndexInfo,
    IndexSchema,
    episodic_schema,
    semantic_history_schema,
    semantic_schema,
    shared_episodic_schema,
)
from app.storage.search_effort import SearchEffort
from app.storage.shard import Shard, Shards
from app.vectors import VectorFormat

BYTES_PER_MB = 1024 * 1024
MAX_SIZE_BYTES = 2**60
POLL_INTERVAL_S = 0.02
INFO_BATCH = 500
ENSURED_AT_A_TIME = 16
CREATION_TRIES = 3
MAX_KNOWN = 200_000
"""Index names that a process remembers as present: some 30 MB at the most."""


class Indexes:
    """The indexes of the whole memory, each created and checked on the master of its shard."""

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

    def episodic(self, agent_id: str) -> IndexSchema:
        """The index that holds one agent's experiences."""
        if self.layout == "shared":
            return shared_episodic_schema(self.stored_as)
        alias = keys.episodic_index(agent_id)
        algorithm: Algorithm = "HNSW" if alias in self._on_hnsw else "FLAT"
        return episodic_schema(agent_id, self.stored_as, algorithm)

    def alias_to_require(self, agent_id: str) -> str:
        """Return the index without which no new partition of this agent may begin.

        Empty where the agents' names are on another shard.
        """
        if self._shards.is_spread:
            return ""
        return keys.EPISODIC_INDEX if self.layout == "shared" else keys.episodic_index(agent_id)

    def current(self, schema: IndexSchema) -> IndexSchema:
        """The schema as it was last found behind its alias.

        It may have moved since: a search by a schema that is no longer true is an error of the
        engine, so nothing but a second round trip depends on this.
        """
        if not schema.movable:
            return schema
        return schema.as_("HNSW" if schema.alias in self._on_hnsw else "FLAT")

    async def look_again(self, node: Redis, schema: IndexSchema) -> None:
        """Find out which algorithm is behind the alias on this node. Raises IndexMissing."""
        (found,) = await read_info(node, [schema.alias])
        self._check(self._as_found(schema, found), found)

    def semantic(self) -> IndexSchema:
        """The index that holds the swarm's concepts."""
        return semantic_schema(self.stored_as)

    def semantic_history(self) -> IndexSchema:
        """The index that holds what concepts were before they were changed."""
        return semantic_history_schema(self.stored_as)

    async def ensure(self, schema: IndexSchema) -> None:
        """Make sure that what is written next under the schema's prefix will be found.

        Raises IndexMismatch when an index is there under this name with another schema.
        """
        if schema.alias in self._known:
            return
        lock = self._locks.setdefault(schema.alias, asyncio.Lock())
        async with lock:
            if schema.alias not in self._known:
                await self._create_or_check(schema)
                self._remember(schema)
        self._locks.pop(schema.alias, None)

    async def ensure_all(self, schemas: Iterable[IndexSchema]) -> None:
        """As `ensure` for each, several at a time: a batch may bring a thousand new agents."""
        for error in (await self.ensure_each(schemas)).values():
            raise error

    async def ensure_each(self, schemas: Iterable[IndexSchema]) -> dict[str, StorageError]:
        """As `ensure_all`, with what went wrong with some of them, by alias."""
        refused: dict[str, StorageError] = {}

        async def ensure(schema: IndexSchema) -> None:
            try:
                await self.ensure(schema)
            except StorageError as error:
                refused[schema.alias] = error

        missing = [schema for schema in schemas if schema.alias not in self._known]
        for start in range(0, len(missing), ENSURED_AT_A_TIME):
            part = missing[start : start + ENSURED_AT_A_TIME]
            await asyncio.gather(*(ensure(schema) for schema in part))
        return refused

    async def heal(self, schema: IndexSchema) -> None:
        """Bring back an index that a search found missing; return when it is whole.

        Raises IndexRebuilding when that takes longer than the service may wait; the rebuilding
        goes on, and the next question waits for it again.
        """
        self._known.discard(schema.alias)
        await self.ensure(schema)

    async def heal_each(self, schemas: Iterable[IndexSchema]) -> None:
        """As `heal` for each. Raises StorageError."""
        missing = list(schemas)
        self._known.difference_update(schema.alias for schema in missing)
        await self.ensure_all(missing)

    async def recover(self, node: Redis, schema: IndexSchema) -> bool:
        """What to do when `node` said that the index is missing.

        False: nothing was ever stored there, so an empty answer is the true one. True: it was lost
        and is whole again, so ask again. Raises as `heal` does.
        """
        with translated():
            has_data = bool(await node.exists(schema.partition))
        if has_data:
            await self.heal(schema)
        return has_data

    def forget(self) -> None:
        """Another master may lack what was created last: look again before the next write."""
        self._known.clear()

    async def verify(self) -> None:
        """Check every index that exists, and add what a former release did not index.

        Raises IndexMismatch for one that does not fit.
        """
        for shard in self._shards:
            await self._verify_on(shard)

    async def _verify_on(self, shard: Shard) -> None:
        node = shard.master
        master = node.client
        with translated():
            names = [name.decode() for name in await execute(master, "FT._LIST")]
        prefixes = (keys.EPISODIC_INDEX, keys.SEMANTIC_INDEX, keys.semantic_history_index())
        ours = [n for n in names if n.startswith(prefixes)]
        is_whole = True
        for start in range(0, len(ours), INFO_BATCH):
            for info in await read_info(master, ours[start : start + INFO_BATCH]):
                await self._fit(master, self._expected(info.name), info)
                is_whole &= info.is_complete
        node.is_whole = is_whole
        for name in ours:
            alias, _, algorithm = name.rpartition(":")
            if (
                algorithm == "hnsw"
                and f"{alias}:flat" not in ours
                and len(self._on_hnsw) < MAX_KNOWN
            ):
                self._on_hnsw.add(alias)

    def misfit(self, found: IndexInfo) -> str | None:
        """How an existing index differs from what the settings ask for; None when it fits."""
        schema = self._expected(found.name)
        try:
            self._check(schema, _extended(schema, found))
        except IndexMismatch as error:
            return error.detail
        missing = [name for name, _ in schema.missing_fields(found)]
        if not missing:
            return None
        return (
            f"The index {found.name} was made by a former release and lacks "
            f"{', '.join(missing)}: the service adds that when it starts."
        )

    def _expected(self, name: str) -> IndexSchema:
        alias = name.rpartition(":")[0]
        if alias == keys.SEMANTIC_INDEX:
            return self.semantic()
        if alias == keys.semantic_history_index():
            return self.semantic_history()
        if alias == keys.EPISODIC_INDEX:
            return shared_episodic_schema(self.stored_as)
        agent_id = keys.index_owner(alias)
        algorithm: Algorithm = "HNSW" if name.endswith(":hnsw") else "FLAT"
        return episodic_schema(agent_id, self.stored_as, algorithm)

    def _check(self, schema: IndexSchema, found: IndexInfo) -> None:
        if found.name != schema.name:
            raise IndexMismatch(
                f"The index {found.name} was not made by this service: drop it with "
                f"FT.DROPINDEX {found.name} (the stored memories stay), then start again."
            )
        differences = schema.differences(found)
        if differences:
            raise IndexMismatch(
                f"The index {found.name} does not fit the settings ({'; '.join(differences)}): "
                f"{self._advice(found)}"
            )

    def _advice(self, found: IndexInfo) -> str:
        """What to do about an index that was made with other settings."""
        if found.dimension != self.dimension:
            return "set MEMORY_DIMENSION to what is stored, or use another Redis."
        if found.data_type != self.stored_as.engine_type:
            return (
                f"set MEMORY_VECTOR_TYPE to {found.data_type.lower()}, or move what is stored by "
                "export and import (docs/runbooks/change-vector-type.md)."
            )
        return "use another Redis."

    async def _fit(self, master: Redis, schema: IndexSchema, found: IndexInfo) -> None:
        """Check an index; it may lack fields, which are added in place, while it answers."""
        extended = _extended(schema, found)
        self._check(schema, extended)
        for name, kind in schema.missing_fields(found):
            await unless_exists(master, schema.add_field_command(name, kind))

    def _as_found(self, schema: IndexSchema, found: IndexInfo) -> IndexSchema:
        """The schema that the index behind the alias should have; remembers its algorithm."""
        if not schema.movable:
            return schema
        schema = schema.as_("HNSW" if found.name == schema.as_("HNSW").name else "FLAT")
        if schema.algorithm == "FLAT":
            self._on_hnsw.discard(schema.alias)
        elif len(self._on_hnsw) < MAX_KNOWN:
            self._on_hnsw.add(schema.alias)
        return schema

    def _master_of(self, schema: IndexSchema) -> Redis:
        return self._shards.shard_of(schema.partition).master.client

    def _remember(self, schema: IndexSchema) -> None:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known.add(schema.alias)

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
        """Create the index, over what is stored already if anything is.

        One that can be of either algorithm begins FLAT, which is built at 55,000 vectors a second,
        HNSW at some 2,000: should it be large, it moves again.
        Scanning costs a walk over all keys of the Redis, so a new partition goes without. Should
        another process write to it in between, the second look finds that and scans.
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
        """The alias follows to the replicas, so it must not overtake their scanning.

        Only those in rotation count: any other is checked before it gets reads again.
        """
        replicas = self._shards.shard_of(schema.partition).replicas
        in_rotation = [node.client for node in replicas if node.status.in_rotation]
        await asyncio.gather(*(self._wait_for_replica(client, schema) for client in in_rotation))

    async def _wait_for_replica(self, replica: Redis, schema: IndexSchema) -> None:
        give_up_at = time.monotonic() + self._wait_s
        while time.monotonic() < give_up_at:
            try:
                return await self._wait_until_complete(replica, schema)
            except IndexMissing:  # not replicated yet
                await asyncio.sleep(POLL_INTERVAL_S)
            except (StorageUnavailable, StorageTimeout, StorageLoading):
                return None  # out of rotation in a moment
        raise _rebuilding(schema, 0.0)

    async def _wait_until_complete(self, node: Redis, schema: IndexSchema) -> None:
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
    """The index with the fields that it lacks."""
    missing = tuple((name, kind[0]) for name, kind in schema.missing_fields(found))
    return replace(found, fields=(*found.fields, *missing))


async def _has_data(master: Redis, schema: IndexSchema) -> bool:
    with translated():
        return bool(await master.exists(schema.partition))


async def _require_some_fit(master: Redis, schema: IndexSchema) -> None:
    """Drop an index that took nothing of what is stored: of it, every answer would be empty.

    It was lost, and the settings are not those of the stored memories. Raises IndexMismatch.
    """
    (info,) = await read_info(master, [schema.name])
    if info.failures and not info.documents:
        with translated():
            await execute(master, "FT.DROPINDEX", schema.name)
        raise IndexMismatch(
            f"None of the {info.failures} memories under {schema.prefix} fits an index of "
            f"{schema.stored_as.dimension} numbers, {schema.stored_as.type}: set MEMORY_DIMENSION "
            "and MEMORY_VECTOR_TYPE to what is stored."
        )


async def unless_exists(master: Redis, command: Sequence[str | int]) -> bool:
    """Run a command that another process may have run a moment earlier; say which it was."""
    try:
        await execute(master, *command)
    except foreign.ResponseError as error:
        if any(words in str(error).lower() for words in ("already exists", "duplicate field")):
            return False
        raise translate(error) from error
    except foreign.RedisError as error:
        raise translate(error) from error
    return True


def _rebuilding(schema: IndexSchema, progress: float) -> IndexRebuilding:
    return IndexRebuilding(
        f"The index {schema.alias} was lost and is being rebuilt ({progress:.0%}): try again "
        "shortly.",
        retry_after_s=1,
    )


async def are_all_complete(node: Redis) -> bool:
    """Whether no index of this node is being built."""
    with translated():
        names = [name.decode() for name in await execute(node, "FT._LIST")]
    for start in range(0, len(names), INFO_BATCH):
        replies = await ask_each(
            node, [("FT.INFO", name) for name in names[start : start + INFO_BATCH]]
        )
        for reply in replies:
            if isinstance(reply, IndexMissing):  # dropped since the list was read
                continue
            if isinstance(reply, Exception):
                raise reply
            if not is_complete(reply):
                return False
    return True


async def read_info(node: Redis, names: Sequence[str]) -> list[IndexInfo]:
    """FT.INFO of these indexes or aliases, in one round trip. Raises IndexMissing."""
    pipeline = node.pipeline(transaction=False)
    pipeline.execute_command(*engine_version.ASK)
    for name in names:
        pipeline.execute_command("FT.INFO", name)
    with translated():
        hello, *replies = await pipeline.execute()
    engine = engine_version.version_in(hello)
    return [parse_info(reply, engine) for reply in replies]


def _pairs(flat: Sequence[object]) -> dict[str, object]:
    return {
        key.decode(): value
        for key, value in zip(flat[::2], flat[1::2], strict=False)
        if isinstance(key, bytes)
    }


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def _number(value: object) -> float:
    return float(_text(value))


def _size_bytes(megabytes: object) -> int:
    """The engine's counters have no sign: one that ran a little below zero shows 2^64 bytes."""
    size_bytes = int(_number(megabytes) * BYTES_PER_MB)
    return size_bytes if size_bytes < MAX_SIZE_BYTES else 0


def is_complete(reply: Sequence[object]) -> bool:
    """Whether the index of this reply of FT.INFO (RESP2) holds everything."""
    info = _pairs(reply)
    return _number(info["indexing"]) == 0 and _number(info["percent_indexed"]) >= 1


def parse_info(reply: Sequence[object], engine: int) -> IndexInfo:
    """FT.INFO's reply (RESP2), of an engine of this version (app/storage/engine_version.py)."""
    info = _pairs(reply)
    vector_bytes = _size_bytes(info["vector_index_sz_mb"])
    total_bytes = _size_bytes(info["total_index_memory_sz_mb"])
    is_whole_total = engine >= engine_version.VECTORS_IN_TOTAL
    attributes = [_attribute(_list(item)) for item in _list(info["attributes"])]
    vector: Mapping[str, str] = next((a for a in attributes if a["type"] == "VECTOR"), {})
    definition = _pairs(_list(info["index_definition"]))
    return IndexInfo(
        name=_text(info["index_name"]),
        prefixes=tuple(_text(prefix) for prefix in _list(definition["prefixes"])),
        algorithm=vector.get("algorithm", "none"),
        dimension=int(vector.get("dim", 0)),
        data_type=vector.get("data_type", "none"),
        metric=vector.get("distance_metric", "none"),
        vector_name=vector.get("attribute", "none"),
        fields=tuple((a["identifier"], a["type"]) for a in attributes if a["type"] != "VECTOR"),
        documents=int(_number(info["num_docs"])),
        is_complete=is_complete(reply),
        progress=_number(info["percent_indexed"]),
        failures=int(_number(info["hash_indexing_failures"])),
        vector_bytes=vector_bytes,
        size_bytes=total_bytes if is_whole_total else vector_bytes + total_bytes,
    )


def _attribute(flat: Sequence[object]) -> dict[str, str]:
    """One field of the schema; flags without a value (SORTABLE, UNF, ...) stand at its end."""
    pairs = _pairs(flat)
    return {key: _text(value) for key, value in pairs.items()}
