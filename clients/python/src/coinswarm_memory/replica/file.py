"""A replica in a file: mapped at the next start, so that only what is needed is read.

A line of JSON that says what follows, then the arrays, each from a multiple of 4,096 bytes, with
the room that they had to grow. The arrays are mapped privately: what changes stays in memory.
"""

import os
import secrets
import time
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from coinswarm_memory.errors import InvalidReplicaFile
from coinswarm_memory.replica.scan import ARRAYS
from coinswarm_memory.replica.table import Table

FORMAT = "coinswarm-memory-replica-2"
ABANDONED_S = 600.0
"""No save takes so long without writing."""
_PAGE = 4096


class _Array(msgspec.Struct):
    name: str
    dtype: str
    shape: list[int]
    offset: int


class _Header(msgspec.Struct, kw_only=True):
    format: str
    agent_id: str
    position: str
    dimension: int
    is_float16: bool
    count: int
    codes: dict[str, dict[str, int]]
    arrays: list[_Array]
    size_bytes: int


def save(path: Path, agent_id: str, table: Table, position: str) -> None:
    """Write a replica to a file; replace what was there in one step."""
    arrays = _arrays(table)
    header, offset = [], _PAGE
    for name, array in arrays.items():
        header.append(_Array(name, array.dtype.str, list(array.shape), offset))
        offset += -(-array.nbytes // _PAGE) * _PAGE
    head = msgspec.json.encode(
        _Header(
            format=FORMAT,
            agent_id=agent_id,
            position=position,
            dimension=table.dimension,
            is_float16=table.is_float16,
            count=len(table),
            codes=table.columns.codes,
            arrays=header,
            size_bytes=offset,
        )
    )
    _remove_abandoned(path)
    written = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    try:
        with written.open("wb") as file:
            head_pages = -(-(len(head) + 1) // _PAGE) * _PAGE
            file.write(head + b"\n")
            for described, array in zip(header, arrays.values(), strict=True):
                file.seek(described.offset - _PAGE + head_pages)
                file.write(np.ascontiguousarray(array).data)
            file.truncate(offset - _PAGE + head_pages)
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """Remove what processes that were killed while they saved left behind."""
    for part in path.parent.glob(f"{escape(path.name)}.*.part"):
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > ABANDONED_S:
                part.unlink()


def load(path: Path, agent_id: str) -> tuple[Table, str] | None:
    """Return the table and the position in a file. None if there is no file.

    Raises InvalidReplicaFile for a file that is not a replica, is cut off, or is another agent's.
    """
    try:
        with path.open("rb") as file:
            line = file.readline()
    except FileNotFoundError:
        return None
    try:
        header = msgspec.json.decode(line, type=_Header)
    except msgspec.MsgspecError as error:
        raise InvalidReplicaFile(f"{path} is not a replica: remove it.") from error
    shift = -(-len(line) // _PAGE) * _PAGE - _PAGE
    if header.format != FORMAT or path.stat().st_size != header.size_bytes + shift:
        raise InvalidReplicaFile(f"{path} is cut off, or of another version: remove it.")
    if header.agent_id != agent_id:
        raise InvalidReplicaFile(f"{path} holds the memory of {header.agent_id}, not {agent_id}.")
    arrays: dict[str, npt.NDArray[Any]] = {
        found.name: np.memmap(path, found.dtype, "c", found.offset + shift, tuple(found.shape))
        for found in header.arrays
    }
    return _table(header, arrays), header.position


def _arrays(table: Table) -> dict[str, npt.NDArray[Any]]:
    vectors = {f"vectors.{name}": getattr(table.vectors, name) for name in ARRAYS}
    columns = {f"columns.{name}": array for name, array in table.columns.arrays.items()}
    lengths = np.fromiter(map(len, table.records), np.int64, len(table.records))
    ids = msgspec.msgpack.encode(table.ids)
    return {
        **vectors,
        **columns,
        "records": np.frombuffer(b"".join(table.records), np.uint8),
        "record_ends": np.cumsum(lengths),
        "ids": np.frombuffer(ids, np.uint8),
    }


def _table(header: _Header, arrays: dict[str, npt.NDArray[Any]]) -> Table:
    table = Table(header.dimension, is_float16=header.is_float16)
    joined = arrays["records"].tobytes()
    ends = arrays["record_ends"].tolist()
    table.adopt(
        vectors={name: arrays[f"vectors.{name}"] for name in ARRAYS},
        columns={name: arrays[f"columns.{name}"] for name in table.columns.arrays},
        codes=header.codes,
        ids=msgspec.msgpack.decode(arrays["ids"].tobytes(), type=list[str]),
        records=[joined[a:b] for a, b in zip([0, *ends], ends, strict=False)],
    )
    return table
