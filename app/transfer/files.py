"""Chooses the file format: by name for writing, by the first bytes for reading.

Also sets the page size of a transfer, and lets one end between two pages.
"""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from app.errors import TransferRefused, UnfitFile
from app.transfer import ndjson_file, parquet_file
from app.transfer.file_format import ExportRow, Header


def is_parquet_name(path: Path) -> bool:
    """Return whether an export with this name is Parquet. Everything else is NDJSON."""
    return path.suffix == ".parquet"


def require_known_name(path: Path) -> None:
    """Raise TransferRefused for a name with the suffix of another format."""
    name = path.name
    known = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz", ".parquet")
    if "." in name.strip(".") and not name.endswith(known):
        raise TransferRefused(
            f"An export is NDJSON or Parquet, and {name} says neither: end its name in .ndjson, "
            ".ndjson.gz or .parquet."
        )


def is_gzip_name(path: Path) -> bool:
    """Return whether an export with this name is compressed."""
    return path.suffix == ".gz"


def read_header(path: Path) -> Header:
    """Return the header of an export. Raise UnfitFile."""
    return parquet_file.read_header(path) if _is_parquet(path) else ndjson_file.read_header(path)


def read_rows(path: Path) -> Iterator[ExportRow]:
    """Yield each row of an export, then check them against its totals. Raise UnfitFile."""
    return parquet_file.read_rows(path) if _is_parquet(path) else ndjson_file.read_rows(path)


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(parquet_file.MAGIC)) == parquet_file.MAGIC
    except OSError as error:
        raise UnfitFile(f"{path} cannot be read ({error.strerror}): check its name.") from error


PAGE_ROWS = 500
PAGE_BYTES = 8 * 1024 * 1024
BYTES_PER_COMPONENT = 4
VECTORS_PER_ROW = 2

ItemT = TypeVar("ItemT")


def page_rows(dimension: int) -> int:
    """Return the rows of one page: 500, or fewer if long vectors would make a page exceed 8 MB."""
    row_bytes = dimension * BYTES_PER_COMPONENT * VECTORS_PER_ROW
    return max(1, min(PAGE_ROWS, PAGE_BYTES // row_bytes))


def pages_of(items: Iterable[ItemT], size: int) -> Iterator[list[ItemT]]:
    """Yield the items in lists of this length; the last may be shorter."""
    remaining = iter(items)
    while page := list(islice(remaining, size)):
        yield page


def end_if_cancelled() -> None:
    """Raise CancelledError if this task was cancelled (Ctrl-C) but kept running.

    redis-py writes under asyncio.wait_for, which before Python 3.12 swallows a cancellation that
    arrives while the write succeeds: https://github.com/python/cpython/issues/86296
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
