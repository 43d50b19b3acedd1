"""Exports the memory from Redis to a file.

The file holds every memory that existed when the export began and was not deleted meanwhile, each
once; memories stored meanwhile may be in it. A concept is followed by its earlier revisions that
are kept. Hits that a service has not yet sent to Redis (MEMORY_ACCESS_FLUSH_INTERVAL_S) are
missing. The file appears under its name only when it is complete and has been read back.

An export in progress is `FILE.partial`, with a checkpoint beside it. After each page the checkpoint
says up to which byte the file is complete, and which memory is the last in it. An interrupted
export truncates the file there and continues after that memory.
"""

import asyncio
import errno
import gzip
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, cast

import orjson

from app.errors import MemoryNotFound, TransferRefused
from app.storage.index import Indexes, Partition, partition_of
from app.transfer import ndjson_file, parquet_file
from app.transfer.file_format import ExportRow, Header, Tally, encode_row
from app.transfer.files import (
    end_if_cancelled,
    is_gzip_name,
    is_parquet_name,
    page_rows,
    pages_of,
    read_rows,
    require_known_name,
)
from app.transfer.read_memory import ConceptRevisions, HashWalk

OWNER_ONLY = 0o600
GZIP_LEVEL = 6
"""Measured on vectors of 256 random numbers: 57 % of the plain size. Level 1 gave 59 % in 0.7 of
the time."""


@dataclass(frozen=True, slots=True)
class ExportPosition:
    """The last memory in the file."""

    agent_id: str | None
    memory_id: str
    seq: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Up to which byte the file is complete, and what it holds so far."""

    header: Header
    offset_bytes: int
    tally: Tally
    last: ExportPosition | None


class PartialFile:
    """Appends pages of rows as NDJSON, plain or with one gzip member per page."""

    def __init__(self, target: Path, *, compressed: bool) -> None:
        self.path = target.with_name(f"{target.name}.partial")
        self._checkpoint_path = target.with_name(f"{target.name}.partial.json")
        self._compressed = compressed
        self._file: BinaryIO | None = None
        self._checkpoint: Checkpoint | None = None

    def __enter__(self) -> "PartialFile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def checkpoint(self) -> Checkpoint:
        """Return how far the file is complete."""
        assert self._checkpoint is not None, "open the file first"
        return self._checkpoint

    def open(self, header: Header) -> ExportPosition | None:
        """Begin, or continue an earlier run. Return the last memory in the file.

        Raise TransferRefused if the earlier run exported something else.
        """
        earlier = self._earlier()
        if earlier is None:
            self._file = _owned(self.path, "wb", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            self._checkpoint = Checkpoint(header, 0, Tally(), None)
            self._write(header.as_json() + b"\n", Tally(), None)
            return None
        if (earlier.header.dimension, earlier.header.agent_id, earlier.header.version) != (
            header.dimension,
            header.agent_id,
            header.version,
        ):
            raise TransferRefused(
                f"{self.path} belongs to another export: finish that one, delete the file, or "
                "choose another name."
            )
        self._file = _owned(self.path, "r+b", os.O_RDWR)
        self._file.truncate(earlier.offset_bytes)
        self._file.seek(earlier.offset_bytes)
        self._checkpoint = earlier
        return earlier.last

    def append(self, rows: Sequence[ExportRow]) -> None:
        """Write a page and record it in the checkpoint."""
        tally = self.checkpoint.tally
        lines = []
        for row in rows:
            line = encode_row(row)
            tally = tally.plus(row, line)
            lines.append(line)
        last = ExportPosition(rows[-1].agent_id, rows[-1].memory_id, rows[-1].seq)
        self._write(b"".join(lines), tally, last)

    def finish(self) -> Tally:
        """Write the end with the totals. The file is on disk afterwards."""
        tally = self.checkpoint.tally
        assert self._file is not None
        self._file.write(self._packed(b'{"end":%b}\n' % tally.as_json()))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return tally

    def remove_checkpoint(self) -> None:
        """Delete the checkpoint of a finished export."""
        self._checkpoint_path.unlink(missing_ok=True)

    def _write(self, data: bytes, tally: Tally, last: ExportPosition | None) -> None:
        assert self._file is not None
        self._file.write(self._packed(data))
        self._file.flush()
        self._checkpoint = Checkpoint(self.checkpoint.header, self._file.tell(), tally, last)
        fresh = self._checkpoint_path.with_suffix(".json.new")
        with _owned(fresh, "wb", os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            file.write(orjson.dumps(asdict(self._checkpoint)))
        fresh.replace(self._checkpoint_path)

    def _packed(self, data: bytes) -> bytes:
        return gzip.compress(data, GZIP_LEVEL, mtime=0) if self._compressed else data

    def _earlier(self) -> Checkpoint | None:
        """Return the checkpoint of an earlier run. None if the export cannot continue from it."""
        try:
            found = orjson.loads(self._checkpoint_path.read_bytes())
            size_bytes = self.path.stat().st_size
            earlier = Checkpoint(
                header=Header(**found["header"]),
                offset_bytes=found["offset_bytes"],
                tally=Tally(**found["tally"]),
                last=None if found["last"] is None else ExportPosition(**found["last"]),
            )
        except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
            return None
        return earlier if size_bytes >= earlier.offset_bytes else None


def make_owned(path: Path) -> None:
    """Create an empty file that only its owner may read. Raise TransferRefused."""
    _owned(path, "wb", os.O_WRONLY | os.O_CREAT | os.O_TRUNC).close()


def _owned(path: Path, mode: str, flags: int) -> BinaryIO:
    """Open a file that only its owner may read. Raise TransferRefused if the path is a link."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, OWNER_ONLY)
    except OSError as error:
        reason = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise TransferRefused(
            f"{path} cannot be written ({reason}): remove it, or choose another name."
        ) from error
    os.fchmod(descriptor, OWNER_ONLY)
    return cast("BinaryIO", os.fdopen(descriptor, mode))


OnProgress = Callable[[str, int, int], None]
"""Called for each step with its name, the rows done, and the rows in total (as known now)."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What the file holds, and how many of these memories an interrupted run had written."""

    tally: Tally
    resumed_from: int


class Exporter:
    """Writes one agent's memory, or all of it, to a file."""

    def __init__(
        self,
        walk: HashWalk,
        former: ConceptRevisions,
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
        """Write the file, or finish it. Raise TransferError, MemoryNotFound or StorageError."""
        _require_free(target, overwrite=overwrite)
        try:
            return await self._export(target, agent_id)
        except OSError as error:
            raise TransferRefused(
                f"{target} cannot be written ({error.strerror}): make room, then run the same "
                "command again to continue."
            ) from error

    async def _export(self, target: Path, agent_id: str | None) -> ExportReport:
        is_parquet = is_parquet_name(target)
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
        self, file: PartialFile, agent_id: str | None, last: ExportPosition | None
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
        page: list[ExportRow] = []
        for partition in remaining:
            start = after_seq if last is not None and partition.agent_id == last.agent_id else 0
            async for found in self._walk.pages(partition, after_seq=start, page_rows=size):
                end_if_cancelled()
                for memory in found:
                    page.append(memory)
                    if memory.agent_id is None:
                        page += [former async for former in self._former.of(memory)]
                    # Pages end between two memories, never within a concept's revisions, because
                    # an interrupted export continues after a memory.
                    if len(page) >= size:
                        self._append(file, page, total)
                        page = []
        if page:
            self._append(file, page, total)

    def _append(self, file: PartialFile, page: Sequence[ExportRow], total: int) -> None:
        file.append(page)
        done = file.checkpoint.tally.memories
        self._on_progress("Exporting", done, max(done, total))

    async def _partitions(self, agent_id: str | None) -> list[Partition]:
        """Return the partitions in the file's order: agents by name, concepts last."""
        agents = await self._walk.agents()
        if agent_id is None:
            return [partition_of(self._indexes, owner) for owner in (*agents, None)]
        if agent_id not in agents:
            raise MemoryNotFound(f"Agent {agent_id} never stored a memory: check the name.")
        return [partition_of(self._indexes, agent_id)]

    async def _require_same_memory(self, last: ExportPosition, file: PartialFile) -> None:
        """Raise TransferRefused if Redis was refilled: with another `seq` memories are missed."""
        partition = partition_of(self._indexes, last.agent_id)
        if await self._walk.seq_of(partition, last.memory_id) not in (None, last.seq):
            raise TransferRefused(
                f"The memory was refilled since {file.path} was begun: delete that file and export "
                "again."
            )

    async def _convert(self, source: Path, header: Header, tally: Tally) -> Path:
        """Convert the finished rows to Parquet, which cannot be appended to."""
        whole = source.with_name(f"{source.name}.parquet")
        make_owned(whole)
        rows = ndjson_file.read_rows(source)
        steps = parquet_file.write_rows(whole, rows, header=header, tally=tally)
        await self._follow("Converting", steps, tally.rows)
        return whole

    async def _read_back(self, path: Path, tally: Tally) -> None:
        """Read the file to its end, which checks counts and checksum. Raise UnfitFile."""
        sizes = (len(page) for page in pages_of(read_rows(path), page_rows(self._dimension)))
        await self._follow("Checking", sizes, tally.rows)

    async def _follow(self, what: str, steps: Iterator[int], total: int) -> None:
        done = 0
        for size in steps:
            done += size
            self._on_progress(what, done, total)
            await asyncio.sleep(0)  # lets a cancellation through


def _require_free(target: Path, *, overwrite: bool) -> None:
    require_known_name(target)
    if target.exists() and not overwrite:
        raise TransferRefused(f"{target} already exists: choose another name or --overwrite.")
    if not target.resolve().parent.is_dir():
        raise TransferRefused(f"The folder of {target} does not exist: create it first.")


def _from(partitions: Sequence[Partition], agent_id: str | None) -> list[Partition]:
    """Return the partitions from this one on. Concepts (None) come last."""
    if agent_id is None:
        return [p for p in partitions if p.agent_id is None]
    return [p for p in partitions if p.agent_id is None or p.agent_id >= agent_id]
