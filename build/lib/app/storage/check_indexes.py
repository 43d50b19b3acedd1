"""Can every stored memory be found? Reads only: nothing is created or mended here."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from app.storage import keys
from app.storage.agents import all_agents
from app.storage.client import execute
from app.storage.finding import Finding
from app.storage.index import Indexes
from app.storage.index_report import index_infos, own_index_names
from app.storage.redis_errors import translated
from app.storage.schema import IndexInfo, IndexSchema
from app.storage.shard import Shards

PART = "index"
SHOWN = 10
"""Of each kind of problem so many are named, the others counted."""


async def check_indexes(shards: Shards, indexes: Indexes) -> list[Finding]:
    """Every partition's index: there, complete, of the right schema. Raises StorageError."""
    wanted = await _wanted(shards, indexes)
    names: list[str] = []
    infos: dict[str, IndexInfo | None] = {}
    for shard in shards:
        node = shard.master.client
        own = await own_index_names(node)
        aliases = {alias for alias in wanted if shards.holds(shard, alias)}
        infos |= await index_infos(node, sorted({*own, *aliases}))
        names += own
    there = {name: info for name in names if (info := infos[name]) is not None}
    problems = [
        *_first(_unready(wanted, infos, there)),
        *_first(_misfits(indexes, there)),
        *_first(_failures(there)),
    ]
    documents = sum(info.documents for alias in wanted if (info := infos[alias]) is not None)
    ok = f"{len(wanted)} of {len(wanted)} indexes ready, {documents:,} memories in them"
    return [
        *([Finding("problem", PART, text) for text in problems] or [Finding("ok", PART, ok)]),
        *_moving(wanted, infos, there),
        *_leftovers(wanted, there),
    ]


async def _wanted(shards: Shards, indexes: Indexes) -> Mapping[str, IndexSchema]:
    """The indexes that must exist because something was stored under them, by alias."""
    agents = await all_agents(shards.shard_of(keys.AGENTS).master.client)
    concepts = keys.semantic_partition()
    with translated():
        master = shards.shard_of(concepts).master.client
        has_concepts = await execute(master, "EXISTS", concepts)
        has_history = await execute(master, "EXISTS", keys.semantic_history_kept())
    schemas = [indexes.episodic(name) for name in agents]
    schemas += [indexes.semantic()] if has_concepts else []
    schemas += [indexes.semantic_history()] if has_history else []
    return {schema.alias: schema for schema in schemas}


def _unready(
    wanted: Mapping[str, IndexSchema],
    infos: Mapping[str, IndexInfo | None],
    there: Mapping[str, IndexInfo],
) -> Iterator[str]:
    for alias, schema in wanted.items():
        building = infos[alias] or there.get(_names(schema)[0])
        if building is not None and building.is_complete and infos[alias] is not None:
            continue
        if building is not None and not building.is_complete:
            yield (
                f"The index {alias} is being built ({building.progress:.0%}): wait, its searches "
                "are answered 503 until then."
            )
        else:
            yield (
                f"The index {alias} is missing though memories are stored: the next search or "
                "store there rebuilds it from them."
            )


def _misfits(indexes: Indexes, there: Mapping[str, IndexInfo]) -> Iterator[str]:
    return (text for info in there.values() if (text := indexes.misfit(info)) is not None)


def _failures(there: Mapping[str, IndexInfo]) -> Iterator[str]:
    for name, info in there.items():
        if info.failures:
            yield (
                f"The index {name} refused {info.failures} hashes, which no search finds: they "
                f"were written by something else under {', '.join(info.prefixes)}; delete them, "
                f"then FT.DROPINDEX {name}, and the service builds it anew."
            )


def _moving(
    wanted: Mapping[str, IndexSchema],
    infos: Mapping[str, IndexInfo | None],
    there: Mapping[str, IndexInfo],
) -> list[Finding]:
    """Indexes beside the one in use: being built, or left over by a move that was cut off."""
    return [
        Finding(
            "note",
            PART,
            f"The index {second.name} ({second.progress:.0%} built) stands beside {in_use.name}, "
            "which serves all searches: a move between FLAT and HNSW is under way, or was cut off "
            "and is finished or cleared away at a running service's next look.",
        )
        for alias, schema in wanted.items()
        if (in_use := infos[alias]) is not None
        for name in _names(schema)
        if (second := there.get(name)) is not None and second.name != in_use.name
    ][:SHOWN]


def _names(schema: IndexSchema) -> list[str]:
    """The indexes that may be behind this alias."""
    if not schema.movable:
        return [schema.name]
    return [schema.as_("FLAT").name, schema.as_("HNSW").name]


def _leftovers(wanted: Mapping[str, IndexSchema], there: Mapping[str, IndexInfo]) -> list[Finding]:
    """Indexes of the other layout cost memory and time at each write, but lose nothing."""
    in_use = {name for schema in wanted.values() for name in _names(schema)}
    unused = [name for name in there if name not in in_use]
    if not unused or not wanted:
        return []
    kinds = Counter("per agent" if name.count(":") > 1 else "shared" for name in unused)
    counted = " and ".join(f"{count} {kind}" for kind, count in kinds.items())
    return [
        Finding(
            "note",
            PART,
            f"{counted} indexes are not used with this MEMORY_LAYOUT, for example {unused[0]}: "
            "FT.DROPINDEX frees their memory (the stored memories stay).",
        )
    ]


def _first(sentences: Iterator[str]) -> Sequence[str]:
    shown = list(islice(sentences, SHOWN))
    more = sum(1 for _ in sentences)
    return [*shown, f"... and {more} more like the last one."] if more else shown
