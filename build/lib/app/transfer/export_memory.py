"""From Redis to a file.

The file holds every memory that was there when the export began and was not deleted meanwhile,
each once; those stored meanwhile may be in it. A concept is followed by what it was before its
changes, as far as that is kept. Hits of searches that a service has not yet sent to
Redis (MEMORY_ACCESS_FLUSH_INTERVAL_S) are not. The file appears under its name only when it is
whole and has been read back.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import MemoryNotFound, TransferRefused
from app.storage.former_contents import FormerContents
from app.storage.hash_walk import HashWalk
from app.storage.index import Indexes
from app.storage.partition import Partition, partition_of
from app.storage.whole_hash import WholeHash
from app.transfer import ndjson_file, parquet_file
from app.transfer.file_format import Header, Tally
from app.transfer.files import (
    is_gzip_name,
    is_parquet_name,
    read_rows,
    require_known_name,
)
from app.transfer.paging import end_if_cancelled, page_rows, pages_of
from app.transfer.partial_file import PartialFile, Position, make_owned

OnProgress = Callable[[str, int, int], None]
"""Hears of each step: what is being done, rows done so far, rows in all (as known now)."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What is in the file now, and how many of these an earlier, interrupted run had written."""

    tally: Tally
    resumed_from: int


class Exporter:
    """Writes one agent's memory, or all of it, to a file."""

    def __init__(
        self,
        walk: HashWalk,
        former: FormerContents,
        indexes: Indexes,
        *,
        dimension: int,
        on_progress: OnProgress,
    ) -> None:
        self._walk = walk
        self._former = former
        self._indexes = indexes
        self._dimension = dimension
        self._on_progress = on_progress

    async def export(self, target: Path, *, agent_id: str | None, overwrite: bool) -> ExportReport:
        """Write the file, or finish it. Raises TransferError, MemoryNotFound, StorageError."""
        _require_free(target, overwrite=overwrite)
        is_parquet = is_parquet_name(target)
        if is_parquet:
            parquet_file.require_pyarrow()
        header = Header(dimension=self._dimension, agent_id=agent_id, created_at=time.time())
        with PartialFile(target, compressed=is_gzip_name(target)) as file:
            last = file.open(header)
            resumed_from = file.checkpoint.tally.memories
            await self._walk_into(file, agent_id, last)
            header, tally = file.checkpoint.header, file.finish()
            whole = file.path
            if is_parquet:
                whole = await self._convert(file.path, header, tally)
            await self._read_back(whole, tally)
            whole.replace(target)
            file.remove_checkpoint()
            file.path.unlink(missing_ok=True)
        return ExportReport(tally, resumed_from)

    async def _walk_into(
        self, file: PartialFile, agent_id: str | None, last: Position | None
    ) -> None:
        partitions = await self._partitions(agent_id)
        total = await self._walk.count(partitions)
        remaining, after_seq = partitions, 0
        if last is not None:
            await self._require_same_memory(last, file)
            remaining = _from(partitions, last.agent_id)
            after_seq = last.seq
        size = page_rows(self._dimension)
        done = file.checkpoint.tally.memories
        self._on_progress("Exporting", done, max(done, total))
        page: list[WholeHash] = []
        for partition in remaining:
            start = after_seq if last is not None and partition.agent_id == last.agent_id else 0
            async for found in self._walk.pages(partition, after_seq=start, page_rows=size):
                end_if_cancelled()
                for memory in found:
                    page.append(memory)
                    if memory.agent_id is None:
                        page += [former async for former in self._former.of(memory)]
                    # Between two memories, never within one's past: an export that was ended goes
                    # on behind a memory.
                    if len(page) >= size:
                        self._append(file, page, total)
                        page = []
        if page:
            self._append(file, page, total)

    def _append(self, file: PartialFile, page: Sequence[WholeHash], total: int) -> None:
        file.append(page)
        done = file.checkpoint.tally.memories
        self._on_progress("Exporting", done, max(done, total))

    async def _partitions(self, agent_id: str | None) -> list[Partition]:
        """In the file's order: agents by name, concepts last."""
        agents = await self._walk.agents()
        if agent_id is None:
            return [partition_of(self._indexes, owner) for owner in (*agents, None)]
        if agent_id not in agents:
            raise MemoryNotFound(f"Agent {agent_id} never stored a memory: check the name.")
        return [partition_of(self._indexes, agent_id)]

    async def _require_same_memory(self, last: Position, file: PartialFile) -> None:
        """A Redis that was filled anew counts `seq` anew: going on would leave out or double."""
        partition = partition_of(self._indexes, last.agent_id)
        if await self._walk.seq_of(partition, last.memory_id) not in (None, last.seq):
            raise TransferRefused(
                f"The memory was filled anew since {file.path} was begun: delete that file and "
                "export again."
            )

    async def _convert(self, source: Path, header: Header, tally: Tally) -> Path:
        """The finished rows as Parquet, which cannot be appended to and so is made at the end."""
        whole = source.with_name(f"{source.name}.parquet")
        make_owned(whole)
        rows = ndjson_file.read_rows(source)
        steps = parquet_file.write_rows(whole, rows, header=header, tally=tally)
        await self._follow("Converting", steps, tally.rows)
        return whole

    async def _read_back(self, path: Path, tally: Tally) -> None:
        """Reading to the end checks counts and checksum. Raises UnfitFile."""
        sizes = (len(page) for page in pages_of(read_rows(path), page_rows(self._dimension)))
        await self._follow("Checking", sizes, tally.rows)

    async def _follow(self, what: str, steps: Iterator[int], total: int) -> None:
        done = 0
        for size in steps:
            done += size
            self._on_progress(what, done, total)
            await asyncio.sleep(0)  # where a cancellation comes through


def _require_free(target: Path, *, overwrite: bool) -> None:
    require_known_name(target)
    if target.exists() and not overwrite:
        raise TransferRefused(f"{target} is there already: choose another name or --overwrite.")
    if not target.resolve().parent.is_dir():
        raise TransferRefused(f"The folder of {target} does not exist: make it first.")


def _from(partitions: Sequence[Partition], agent_id: str | None) -> list[Partition]:
    """The partitions from this one on; concepts (None) come last."""
    if agent_id is None:
        return [p for p in partitions if p.agent_id is None]
    return [p for p in partitions if p.agent_id is None or p.agent_id >= agent_id]
