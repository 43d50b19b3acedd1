"""Reads an export written as NDJSON, plain or gzip."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from app.errors import UnfitFile
from app.transfer.file_format import (
    ExportRow,
    Header,
    Tally,
    decode_row,
    parse_header,
    parse_tally,
    require_same,
)

GZIP_MAGIC = b"\x1f\x8b"
MAX_LINE_BYTES = 64 * 1024 * 1024
_END = b'{"end":'


def read_header(path: Path) -> Header:
    """Return the file's header. Raise UnfitFile or OSError."""
    with _opened(path) as file:
        return parse_header(_line(file, path), source=str(path))


def read_rows(path: Path) -> Iterator[ExportRow]:
    """Yield each row, in the file's order.

    Raise UnfitFile at a damaged line, and after the last row if the totals are missing or do not
    match.
    """
    tally = Tally()
    with _opened(path) as file:
        parse_header(_line(file, path), source=str(path))
        number = 1
        while line := _line(file, path):
            number += 1
            if line.startswith(_END):
                end = line.removeprefix(_END).strip().removesuffix(b"}")
                require_same(tally, parse_tally(end, source=str(path)), source=str(path))
                if _line(file, path):
                    raise UnfitFile(f"{path} has data after its end: it is damaged, export again.")
                return
            row = _row(line, number, path)
            tally = tally.plus(row, line)
            yield row
    raise UnfitFile(f"{path} has no end: its export was not finished, run it again.")


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        is_gzip = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return cast("BinaryIO", gzip.open(path, "rb")) if is_gzip else path.open("rb")


def _line(file: BinaryIO, path: Path) -> bytes:
    try:
        return file.readline(MAX_LINE_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnfitFile(f"{path} is damaged ({error}): export again.") from error


def _row(line: bytes, number: int, path: Path) -> ExportRow:
    try:
        return decode_row(line)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UnfitFile(f"Line {number} of {path} is damaged ({error}): export again.") from error
