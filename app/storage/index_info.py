"""Reads FT.INFO of many indexes without holding Redis up. Missing indexes are no error."""

from collections.abc import Mapping, Sequence
from typing import Any

from app import keys
from app.errors import IndexRebuilding, StorageError
from app.nodes import engine_options
from app.nodes.client import Client
from app.nodes.commands import Words, ask_each, ask_one, slices
from app.nodes.node import RedisNode
from app.nodes.redis_errors import IndexMissing, refusal_of, translated
from app.nodes.shard import Shards
from app.storage.schema import (
    IndexInfo,
)

INFO_SLICE = 20
"""Indexes per round trip. FT.INFO takes Redis 0.08 ms, so other clients wait about 2 ms."""


async def index_names(node: Client) -> list[str]:
    """Return the names of all indexes of a node, sorted. Raise StorageError."""
    names = await ask_one(node, "FT._LIST")
    return sorted(name.decode() for name in names)


async def own_index_names(node: Client) -> list[str]:
    """Return the names of the memory's indexes in any layout, sorted."""
    ours = (keys.EPISODIC_INDEX, keys.SEMANTIC_INDEX)
    return [name for name in await index_names(node) if name.startswith(ours)]


async def ask_with_infos(
    node: Client, names: Sequence[str], others: Sequence[Words] = ()
) -> tuple[list[Any], list[Any]]:
    """Ask for FT.INFO of these indexes or aliases, and other commands, in one round trip.

    Return the replies to both, in order; a failed command has its error. Raise StorageError if the
    node as a whole could not be asked.
    """
    replies = await ask_each(node, [*(("FT.INFO", name) for name in names), *others])
    return replies[: len(names)], replies[len(names) :]


async def ask_indexes(node: RedisNode, asked: Sequence[tuple[str, Words]]) -> list[Any]:
    """Return the replies to commands, each given with the index or alias that it asks, in one round
    trip; a failed command has its error.

    IndexRebuilding stands in for the reply of an index that this node is still building, which
    would be the part that is there, without saying so. Raise StorageError if the node as a whole
    could not be asked.
    """
    commands = [words for _, words in asked]
    if node.has_whole_indexes:
        replies = await ask_each(node.client, commands)
        if node.has_whole_indexes:
            return replies
    if node.shared is not None:
        with translated():
            await node.shared.open()
    aliases = sorted({alias for alias, _ in asked})
    infos, replies = await ask_with_infos(node.client, aliases, commands)
    looks = zip(aliases, infos, strict=True)
    building = {alias for alias, info in looks if isinstance(info, list) and not is_complete(info)}
    return [
        _still_building(alias) if alias in building else reply
        for (alias, _), reply in zip(asked, replies, strict=True)
    ]


def _still_building(alias: str) -> IndexRebuilding:
    return IndexRebuilding(
        f"The index {alias} is being built on this node: try again shortly.", retry_after_s=1
    )


async def index_infos(node: Client, names: Sequence[str]) -> dict[str, IndexInfo | None]:
    """Return the info of each of these indexes or aliases. None for a missing one."""
    found: dict[str, IndexInfo | None] = {}
    for some in slices(names, INFO_SLICE):
        replies, (hello,) = await ask_with_infos(node, some, [engine_options.ASK])
        if isinstance(hello, Exception):
            raise hello
        engine = engine_options.version_in(hello)
        for name, reply in zip(some, replies, strict=True):
            if isinstance(reply, Exception) and not isinstance(reply, IndexMissing):
                raise reply
            found[name] = None if isinstance(reply, IndexMissing) else parse_info(reply, engine)
    return found


async def refused_hashes(shards: Shards) -> int:
    """Return how many hashes the indexes could not take. No search and no export finds those."""
    refused = 0
    for shard in shards:
        node = shard.master.client
        infos = await index_infos(node, await own_index_names(node))
        refused += sum(info.failures for info in infos.values() if info is not None)
    return refused


BYTES_PER_MB = 1024 * 1024
MAX_SIZE_BYTES = 2**60
INFO_BATCH = 500


async def unless_exists(master: Client, command: Sequence[str | int]) -> bool:
    """Run a command that another process may just have run. Return whether it took effect."""
    try:
        await ask_one(master, *command)
    except StorageError as error:
        refusal = (refusal_of(error) or "").lower()
        if any(words in refusal for words in ("already exists", "duplicate field")):
            return False
        raise
    return True


async def are_all_complete(node: Client) -> bool:
    """Return whether no index of this node is being built."""
    names = await index_names(node)
    for some in slices(names, INFO_BATCH):
        replies, _ = await ask_with_infos(node, some)
        for reply in replies:
            if isinstance(reply, IndexMissing):  # dropped since the list was read
                continue
            if isinstance(reply, Exception):
                raise reply
            if not is_complete(reply):
                return False
    return True


async def read_info(node: Client, names: Sequence[str]) -> list[IndexInfo]:
    """Return FT.INFO of these indexes or aliases, in one round trip. Raise IndexMissing."""
    replies, (hello,) = await ask_with_infos(node, names, [engine_options.ASK])
    for reply in (hello, *replies):
        if isinstance(reply, Exception):
            raise reply
    engine = engine_options.version_in(hello)
    return [parse_info(reply, engine) for reply in replies]


def pairs_of(flat: Sequence[object]) -> dict[str, object]:
    """Return a flat list of names and values as a dict."""
    return {
        key.decode(): value
        for key, value in zip(flat[::2], flat[1::2], strict=False)
        if isinstance(key, bytes)
    }


def text_of(value: object) -> str:
    """Return a value of FT.INFO as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def number(value: object) -> float:
    """Return a value of FT.INFO as a number."""
    return float(text_of(value))


def _size_bytes(megabytes: object) -> int:
    """Return a size in bytes, or 0 if it underflowed: the engine's counters are unsigned."""
    size_bytes = int(number(megabytes) * BYTES_PER_MB)
    return size_bytes if size_bytes < MAX_SIZE_BYTES else 0


def is_complete(reply: Sequence[object]) -> bool:
    """Return whether the index of this FT.INFO reply (RESP2) holds everything."""
    info = pairs_of(reply)
    return number(info["indexing"]) == 0 and number(info["percent_indexed"]) >= 1


def parse_info(reply: Sequence[object], engine: int) -> IndexInfo:
    """Parse an FT.INFO reply (RESP2) of this engine version (app/nodes/engine_options.py)."""
    info = pairs_of(reply)
    vector_bytes = _size_bytes(info["vector_index_sz_mb"])
    total_bytes = _size_bytes(info["total_index_memory_sz_mb"])
    is_whole_total = engine >= engine_options.VECTORS_IN_TOTAL
    attributes = [_attribute(_list(item)) for item in _list(info["attributes"])]
    vector: Mapping[str, str] = next((a for a in attributes if a["type"] == "VECTOR"), {})
    definition = pairs_of(_list(info["index_definition"]))
    return IndexInfo(
        name=text_of(info["index_name"]),
        prefixes=tuple(text_of(prefix) for prefix in _list(definition["prefixes"])),
        algorithm=vector.get("algorithm", "none"),
        dimension=int(vector.get("dim", 0)),
        data_type=vector.get("data_type", "none"),
        metric=vector.get("distance_metric", "none"),
        vector_name=vector.get("attribute", "none"),
        fields=tuple((a["identifier"], a["type"]) for a in attributes if a["type"] != "VECTOR"),
        documents=int(number(info["num_docs"])),
        is_complete=is_complete(reply),
        progress=number(info["percent_indexed"]),
        failures=int(number(info["hash_indexing_failures"])),
        vector_bytes=vector_bytes,
        size_bytes=total_bytes if is_whole_total else vector_bytes + total_bytes,
    )


def _attribute(flat: Sequence[object]) -> dict[str, str]:
    """Parse one field of the schema. Flags without a value (SORTABLE, UNF, ...) are at its end."""
    pairs = pairs_of(flat)
    return {key: text_of(value) for key, value in pairs.items()}
