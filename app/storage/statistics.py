"""Reads how much each partition and each index holds, in slices that block nobody."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from app.errors import IndexRebuilding
from app.nodes.commands import ask_all, ask_each, slices
from app.nodes.node import RedisNode
from app.nodes.reads import ReadRouter
from app.nodes.redis_errors import IndexMissing
from app.storage.agents import AgentNames, FoundAgents, leaving_out
from app.storage.index import Indexes, Partition, partition_of
from app.storage.index_info import INFO_SLICE, ask_indexes, index_infos, own_index_names
from app.storage.schema import IndexInfo

SAMPLED_HASHES = 5
"""Hashes of a partition whose size is read; the others count as their mean."""

_OPEN = "-@reward:[-inf inf]"
"""Matches memories without a reward. Redis walks the partition: 5 ms for 100,000 memories."""


@dataclass(frozen=True, slots=True)
class PartitionTotals:
    """One partition's memories. Counts are None while its index is missing or being built.

    `agent_id` is None for the semantic memory, where no memory is open. `hash_bytes` is an
    estimate: the mean MEMORY USAGE of `sampled_hashes` of them, times `memories`.
    """

    agent_id: str | None
    index: str
    memories: int | None
    open_memories: int | None
    retired_memories: int
    hash_bytes: int | None
    sampled_hashes: int


@dataclass(frozen=True, slots=True)
class MoveState:
    """An index that is built beside the one in use; `progress` is 0 to 1."""

    to: str
    progress: float


class Statistics:
    """Asks the master, or a replica while the master is unavailable."""

    def __init__(self, reads: ReadRouter, indexes: Indexes) -> None:
        self._reads = reads
        self._shards = reads.shards
        self._indexes = indexes
        self.layout = indexes.layout
        self.stored_as = indexes.stored_as

    async def agents(self) -> FoundAgents:
        """Return the agents that ever stored a memory, of the groups that answer."""
        return await AgentNames(self._reads).found()

    async def partitions(
        self, owners: Sequence[str | None], silent: list[str]
    ) -> list[PartitionTotals]:
        """Return the counts of these agents (None: the semantic memory), in order.

        If partial answers are allowed, those of a group that is away have no counts, and its name
        is added to `silent`.
        """
        figures: list[PartitionTotals] = []
        for some in slices([partition_of(self._indexes, owner) for owner in owners], INFO_SLICE):
            found: dict[int, PartitionTotals] = {}
            for shard, positions in self._shards.indices([p.counter for p in some]):
                part = [some[i] for i in positions]
                found.update(zip(positions, map(_unknown, part), strict=True))
                with leaving_out(self._shards, shard, silent):
                    told = await self._reads.read_indexes_on(shard, partial(_figures, part))
                    found.update(zip(positions, told, strict=True))
            figures += [found[i] for i in range(len(some))]
        return figures

    async def moves(
        self, known: Mapping[str, IndexInfo | None], silent: list[str]
    ) -> Mapping[str, MoveState]:
        """Return the second index of each of these indexes that has one, by alias.

        `silent` as for `partitions`.
        """
        there = await self._index_names(silent)
        seconds = {
            second: alias
            for alias, info in known.items()
            if info is not None
            for second in (f"{alias}:flat", f"{alias}:hnsw")
            if second != info.name and second in there
        }
        infos = await self._infos_of(list(seconds), silent)
        return {
            seconds[name]: MoveState(info.algorithm, info.progress)
            for name, info in infos.items()
            if info is not None
        }

    async def indexes(
        self, aliases: Iterable[str], silent: list[str]
    ) -> dict[str, IndexInfo | None]:
        """Return the info of these indexes by alias, in order. None for a missing one.

        `silent` as for `partitions`.
        """
        found: dict[str, IndexInfo | None] = {}
        for some in slices(sorted(set(aliases)), INFO_SLICE):
            infos = await self._infos_of(some, silent)
            found |= {alias: infos[alias] for alias in some}
        return found

    async def _infos_of(
        self, names: Sequence[str], silent: list[str]
    ) -> dict[str, IndexInfo | None]:
        found: dict[str, IndexInfo | None] = dict.fromkeys(names)
        for shard, positions in self._shards.indices(names) if names else ():
            part = [names[i] for i in positions]
            with leaving_out(self._shards, shard, silent):
                found |= await self._reads.read_on(shard, partial(index_infos, names=part))
        return found

    async def _index_names(self, silent: list[str]) -> set[str]:
        names: set[str] = set()
        for shard in self._shards:
            with leaving_out(self._shards, shard, silent):
                names.update(await self._reads.read_on(shard, own_index_names))
        return names


def _unknown(partition: Partition) -> PartitionTotals:
    alias = partition.schema.alias
    return PartitionTotals(partition.agent_id, alias, None, None, 0, None, 0)


async def _figures(partitions: Sequence[Partition], node: RedisNode) -> list[PartitionTotals]:
    asked = [
        (partition.schema.alias, command)
        for partition in partitions
        for command in (_sample(partition), _count_open(partition))
    ]
    replies = _none_if_not_there(await ask_indexes(node, asked))
    retired = [("HGET", partition.counter, "retired") for partition in partitions]
    told = await ask_each(node.client, retired)
    samples = [[] if reply is None else reply[1:] for reply in replies[::2]]
    sizes = iter(
        await ask_all(
            node.client,
            [("MEMORY", "USAGE", key, "SAMPLES", 0) for keys in samples for key in keys],
        )
    )
    figures = []
    for partition, sample, found, still_open, left in zip(
        partitions, samples, replies[::2], replies[1::2], told, strict=True
    ):
        known = [size for size in (next(sizes) for _ in sample) if size is not None]
        memories = None if found is None else int(found[0])
        figures.append(
            PartitionTotals(
                agent_id=partition.agent_id,
                index=partition.schema.alias,
                memories=memories,
                open_memories=_open_count(partition, still_open),
                # An error: somebody put something else there.
                retired_memories=int(left) if isinstance(left, bytes) else 0,
                hash_bytes=_estimate_bytes(known, memories),
                sampled_hashes=len(known),
            )
        )
    return figures


def _sample(partition: Partition) -> tuple[str | int, ...]:
    return (
        *("FT.SEARCH", partition.schema.alias, partition.query(), "NOCONTENT"),
        *("LIMIT", 0, SAMPLED_HASHES, "DIALECT", 2),
    )


def _count_open(partition: Partition) -> tuple[str | int, ...]:
    query = partition.query() if partition.agent_id is None else partition.query(_OPEN)
    return ("FT.SEARCH", partition.schema.alias, query, "LIMIT", 0, 0, "DIALECT", 2)


def _open_count(partition: Partition, reply: Sequence[int] | None) -> int | None:
    if reply is None:
        return None
    return 0 if partition.agent_id is None else int(reply[0])


def _estimate_bytes(sizes: Sequence[int], memories: int | None) -> int | None:
    if memories is None:
        return None
    return round(sum(sizes) / len(sizes) * memories) if sizes else 0


def _none_if_not_there(replies: Sequence[object]) -> list[list[int] | None]:
    known: list[list[int] | None] = []
    for reply in replies:
        if isinstance(reply, Exception) and not isinstance(reply, IndexMissing | IndexRebuilding):
            raise reply
        known.append(reply if isinstance(reply, list) else None)
    return known
