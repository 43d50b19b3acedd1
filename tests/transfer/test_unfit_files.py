"""A file that is damaged or does not fit is refused in a sentence, before anything is written."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest
from redis.asyncio import Redis

from app.errors import IndexMismatch, TransferRefused, UnfitFile
from app.settings import Settings
from app.transfer import parquet_file
from app.transfer.export_memory import PartialFile
from app.transfer.file_format import (
    ConceptRevision,
    ExportRow,
    Header,
    Tally,
    decode_row,
    encode_row,
)
from app.transfer.files import read_rows, require_known_name
from app.transfer.row_check import check_row
from app.vectors import VectorFormat
from tests.conftest import DIMENSION
from tests.transfer.filled import export_to, fill, import_from

Damage = Callable[[list[bytes]], list[bytes]]


def row(memory_id: str = "m", dimension: int = DIMENSION, **fields: bytes) -> ExportRow:
    vector = np.arange(1, dimension + 1, dtype="<f4").tobytes()
    record: dict[str, object] = {
        "id": memory_id,
        "agent_id": "bot",
        "product_id": "p",
        "regime": "r",
        "action": None,
        "reward": 0.5,
        "timestamp": 1.0,
        "outcome_at": 2.0,
        "terminal": False,
        "metadata": {},
        "pinned": False,
        "recorded_at": 3.0,
    }
    beside = {
        "agent_id": b"bot",
        "product_id": b"p",
        "regime": b"r",
        "reward": b"0.5",
        "timestamp": b"1.0",
        "outcome_at": b"2.0",
        "terminal": b"false",
        "recorded_at": b"3.0",
        "digest": bytes(16),
    }
    whole = {"record": orjson.dumps(record), "state_vector": vector, **beside}
    return ExportRow("bot", memory_id, 1, whole | fields)


def changed_record(**values: object) -> ExportRow:
    """A row whose record says this."""
    record = orjson.loads(row().fields["record"]) | values
    return row(record=orjson.dumps(record))


def former_row(number: int = 1, valid_from: bytes = b"1.5") -> ExportRow:
    """What a concept was before a change of two."""
    vector = np.arange(1, DIMENSION + 1, dtype="<f4").tobytes()
    record = {
        "id": "c",
        "memory_type": "PATTERN",
        "regime_name": "r",
        "sharpe_ratio": 1.0,
        "win_rate": 0.5,
        "created_at": 1.0,
        "metadata": {},
        "pinned": False,
    }
    fields = {"record": orjson.dumps(record), "concept_vector": vector, "valid_from": valid_from}
    fields |= {"created_at": b"1.0", "valid_until": b"2.0", "memory_type": b"PATTERN"}
    fields |= {"regime_name": b"r", "sharpe_ratio": b"1.0", "win_rate": b"0.5"}
    return ExportRow(None, "c", 1, fields, former=ConceptRevision(number, 2, "2.0", 4_000_000_000))


def export_file(path: Path, rows: list[ExportRow], dimension: int = DIMENSION) -> Path:
    """A whole and sound file of these rows, whatever they hold."""
    with PartialFile(path, compressed=False) as file:
        file.open(Header(dimension=dimension, agent_id=None, created_at=0.0))
        file.append(rows)
        file.finish()
    return file.path.replace(path)


ROWS = [row(f"m{i}") for i in range(12)]


def sound_file(path: Path) -> Path:
    """All of ROWS, written as the name says."""
    header = Header(dimension=DIMENSION, agent_id=None, created_at=0.0)
    with PartialFile(path, compressed=path.suffix == ".gz") as file:
        file.open(header)
        file.append(ROWS)
        tally = file.finish()
    if path.suffix == ".parquet":
        assert sum(parquet_file.write_rows(path, iter(ROWS), header=header, tally=tally)) == 12
        return path
    return file.path.replace(path)


def changed(old: bytes, new: bytes, line: int) -> Damage:
    def change(lines: list[bytes]) -> list[bytes]:
        assert old in lines[line]
        lines[line] = lines[line].replace(old, new, 1)
        return lines

    return change


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (changed(b'"version":2', b'"version":3', 0), "format version 3, and this program reads"),
        (changed(b"coinswarm-memory", b"another", 0), "is not an export"),
        (changed(b'"dimension"', b'"dimensions"', 0), "header of .* is damaged"),
        (lambda lines: [b"\x00\x01\x02", *lines[1:]], "is not an export"),
        (lambda lines: [], "is not an export"),
        (lambda lines: lines[:-1], "has no end"),
        (lambda lines: lines[:10], "has no end"),
        (lambda lines: [*lines[:5], *lines[6:]], r"holds \d+ memories, its end says"),
        (lambda lines: [*lines[:5], lines[6], lines[5], *lines[7:]], "checksum"),
        (changed(b'"seq":', b'"seq":1', 4), "checksum"),
        (lambda lines: [*lines[:3], lines[3][:40] + b"\n", *lines[4:]], "Line 4 of .* damaged"),
        (changed(b'"vectors"', b'"sectors"', 2), "Line 3 of .* damaged"),
        (lambda lines: [*lines, lines[-2]], "has data after its end"),
        (changed(b'"episodic":', b'"episodes":', -1), "end of .* is damaged"),
    ],
)
async def test_damaged_file_is_refused_before_anything_is_written(
    damage: Damage, sentence: str, settings: Settings, redis: Redis
) -> None:
    path = sound_file(Path("x.ndjson"))
    assert (await import_from(path, redis, settings)).created == len(ROWS)
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    await redis.flushall()
    with pytest.raises(UnfitFile, match=sentence):
        await import_from(path, redis, settings)
    assert await redis.dbsize() == 0


@pytest.mark.parametrize("name", ["x.ndjson.gz", "x.parquet"])
@pytest.mark.parametrize("part", [0.3, 0.999])
async def test_shortened_file_is_refused(
    name: str, part: float, settings: Settings, redis: Redis
) -> None:
    path = sound_file(Path(name))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(UnfitFile, match=r"damaged|no end"):
        await import_from(path, redis, settings)
    assert await redis.dbsize() == 0


@pytest.mark.parametrize("name", ["x.ndjson.gz", "x.parquet"])
def test_every_flipped_bit_is_noticed(name: str) -> None:
    """In 200 places of the file: it is refused, or what it holds is what was stored."""
    path = sound_file(Path(name))
    whole = path.read_bytes()
    refused = 0
    for position in range(10, len(whole) - 1, max(1, len(whole) // 200)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        try:
            assert list(read_rows(path)) == ROWS
        except UnfitFile:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("name", ["all.ndjson", "all.parquet"])
async def test_another_dimension_is_refused(
    name: str, api: httpx.AsyncClient, settings: Settings, redis: Redis
) -> None:
    await fill(api, redis)
    await export_to(Path(name), redis, settings)
    await redis.flushall()
    other = settings.model_copy(update={"dimension": DIMENSION * 2})
    with pytest.raises(UnfitFile, match=f"have {DIMENSION} numbers, MEMORY_DIMENSION is 16"):
        await import_from(Path(name), redis, other)
    assert await redis.dbsize() == 0


async def test_a_memory_of_another_dimension_is_refused(
    api: httpx.AsyncClient, settings: Settings, redis: Redis
) -> None:
    """Settings and file agree, but the Redis holds longer vectors."""
    await fill(api, redis)
    path = export_file(Path("x.ndjson"), [row(dimension=16)], dimension=16)
    other = settings.model_copy(update={"dimension": 16})
    size = await redis.dbsize()
    with pytest.raises(IndexMismatch, match="dimension is 8, expected 16"):
        await import_from(path, redis, other)
    assert await redis.dbsize() == size


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (row(dimension=DIMENSION + 1), "state_vector must hold 8 numbers, got 9"),
        (row(next_state_vector=b"\0\0\x80?"), "next_state_vector must hold 8 numbers, got 1"),
        (row(state_vector=b"\0\0\xc0\x7f" * DIMENSION), "NaN"),
        (row(seq=b"7"), "seq may not be"),
        (row(record=b"[]"), "not a JSON object"),
        (row(memory_id="a\nb"), "id or agent_id is not allowed"),
        (replace(row(), seq=0), "seq must be a whole number"),
        (row(record=b'{"x":1}'), "its record names another id"),
        (changed_record(agent_id="other"), "its record names another agent_id"),
        (changed_record(reward="a lot"), "reward: should be a number"),
        (changed_record(reward=1.0), "reward is not what its record says"),
        (changed_record(timestamp=-1e300), "timestamp"),
        (changed_record(outcome_at=0.5), "outcome_at: must not be before timestamp"),
        (changed_record(regime=""), "regime"),
        (changed_record(pinned="yes"), "pinned"),
        (changed_record(priority=1.0), "it has no field priority"),
        (changed_record(recorded_at=None), "recorded_at must be a number"),
        (changed_record(extra=1), "extra"),
        (row(quality=b"1"), "quality is not what its record says"),
        (row(reward=b"nan"), "reward is not what its record says"),
        (row(digest=b"x"), "its digest must have 16 bytes"),
        (ExportRow("b{t", "m", 1, row().fields), "id or agent_id is not allowed"),
        (ExportRow(None, "m", 1, row().fields), "no concept_vector"),
        (
            replace(row(), former=ConceptRevision(1, 1, "1.0", 2)),
            "only a concept has earlier revisions",
        ),
        (former_row(number=0), "number of its change"),
        (former_row(number=3), "number of its change"),
        (former_row(valid_from=b"x"), "valid_from must be a number"),
    ],
)
async def test_a_row_that_could_not_have_been_stored_is_refused(
    bad: ExportRow, sentence: str, settings: Settings, redis: Redis
) -> None:
    path = export_file(Path("x.ndjson"), [row("good"), bad])
    with pytest.raises(UnfitFile, match=f"(?s)1 memory of .*, so nothing was: .*{sentence}"):
        await import_from(path, redis, settings)
    assert await redis.dbsize() == 0


async def test_a_file_that_is_not_there_is_one_sentence(settings: Settings, redis: Redis) -> None:
    with pytest.raises(UnfitFile, match=r"nothing\.ndjson cannot be read \(No such file"):
        await import_from(Path("nothing.ndjson"), redis, settings)
    path = export_file(Path("x.ndjson"), [row()])
    with pytest.raises(UnfitFile, match="holds no memory of agent nobody"):
        await import_from(path, redis, settings, agent_id="nobody")


@pytest.mark.parametrize(
    "fields",
    [
        {"record": b'{"n": 1}'},  # not written as the service would: kept byte for byte
        {"record": b'{"n":1.0,"s":"\\u00e9"}'},
        {"record": "é".encode(), "odd": b"\xff\xfe", "empty": b"", "nul": b"\0", "é": b"1"},
        {"digest": b"is text here 16b"},
    ],
)
def test_any_bytes_survive_both_formats(fields: dict[str, bytes]) -> None:
    sound = row()
    whole = ExportRow(sound.agent_id, sound.memory_id, sound.seq, sound.fields | fields)
    line = encode_row(whole)
    assert orjson.loads(line)["id"] == "m"
    assert decode_row(line) == whole
    tally = Tally().plus(whole, line)
    header = Header(dimension=DIMENSION, agent_id=None, created_at=0.0)
    path = Path("x.parquet")
    assert list(parquet_file.write_rows(path, iter([whole]), header=header, tally=tally)) == [1]
    assert list(read_rows(path)) == [whole]


def test_compressed_file_is_plain_gzip() -> None:
    """Other programs read it: gzip members one after the other are one file."""
    with PartialFile(Path("x.ndjson.gz"), compressed=True) as file:
        file.open(Header(dimension=DIMENSION, agent_id=None, created_at=0.0))
        for i in range(3):
            file.append([row(f"m{i}")])
        file.finish()
    lines = gzip.decompress(file.path.read_bytes()).splitlines()
    assert [orjson.loads(line).get("id") for line in lines] == [None, "m0", "m1", "m2", None]
    check_row(row(), VectorFormat(DIMENSION))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (b'"seq":1', b'"seq":"one"', 1),
        (b'"dimension":8', b'"dimension":"eight"', 0),
        (b'"created_at":0.0', b'"created_at":"then"', 0),
        (b'"episodic":12', b'"episodic":"twelve"', -1),
        (b'"crc32":', b'"crc32":"x","y":', -1),
    ],
)
async def test_a_text_where_a_number_belongs_is_a_sentence(
    settings: Settings, redis: Redis, old: bytes, new: bytes, line: int
) -> None:
    path = sound_file(Path("x.ndjson"))
    lines = path.read_bytes().splitlines(keepends=True)
    assert old in lines[line]
    lines[line] = lines[line].replace(old, new)
    path.write_bytes(b"".join(lines))
    with pytest.raises(UnfitFile):
        await import_from(path, redis, settings)
    assert await redis.dbsize() == 0


async def test_bad_rows_are_counted_and_named(settings: Settings, redis: Redis) -> None:
    path = export_file(Path("x.ndjson"), [row("good"), *(row(f"b{i}", digest=b"") for i in (1, 2))])
    with pytest.raises(UnfitFile, match=r"2 memories of .* b1: its digest .* b2: its digest"):
        await import_from(path, redis, settings)


def test_an_export_is_its_owners_alone_and_follows_no_link(tmp_path: Path) -> None:
    path = export_file(tmp_path / "x.ndjson", [row()])
    assert path.stat().st_mode & 0o777 == 0o600
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / "y.ndjson.partial").symlink_to(other)
    with pytest.raises(TransferRefused, match="it is a link"):
        export_file(tmp_path / "y.ndjson", [row()])
    assert other.read_text() == "kept"


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.json", "x.parquet.gz"])
def test_a_name_of_another_format_is_refused(name: str) -> None:
    with pytest.raises(TransferRefused, match=r"end its name in \.ndjson"):
        require_known_name(Path(name))
