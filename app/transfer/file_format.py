"""The content of an export, independent of how the file is written.

A header (format, version, dimension, ...), one row per memory, and at the end the totals: counts
and a checksum. A row is one Redis hash with all its fields but `seq`, which the importing partition
assigns again.

As NDJSON a row is one line:

    {"memory":"episodic","agent_id":"a","id":"m1","seq":7,"record":{...},
     "vectors":{"state_vector":"base64 of float32"},"fields":{"reward":"0.5"},
     "bytes":{"digest":"base64"}}

`record` is what the service returns for the memory. `fields` are the hash's other text fields,
`bytes` its binary ones. `agent_id` is null for a concept (`"memory":"semantic"`), which may also
have `"hits_by_day":{"20780":3}`: how many searches found it, by days since 1970. A concept's
earlier revisions follow it, latest first, as rows of their own:

    {"memory":"semantic_former","agent_id":null,"id":"c1","seq":7,"record":{...},
     "vectors":{...},"fields":{"valid_from":"1.7e9","valid_until":"1.8e9",...},"bytes":{},
     "former":{"number":2,"of_changes":2,"changed_at":"1.8e9","expires_at":1831536000}}

Version 1 had no such rows; it can be read as well.
"""

import base64
import binascii
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from app import vectors
from app.errors import UnfitFile
from app.storage import episodic, semantic

SEQ = "seq"
REV = "rev"
VECTOR_FIELDS = (*episodic.VECTOR_FIELDS, *semantic.VECTOR_FIELDS)


@dataclass(frozen=True, slots=True)
class ConceptRevision:
    """Marks a hash as a concept's revision before its `number`th change.

    `of_changes` and `changed_at` describe the current concept: how many changes it had, and when
    the last one was. `expires_at` is unix seconds.
    """

    number: int
    of_changes: int
    changed_at: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class ExportRow:
    """Every field of one memory's hash but `seq`, byte for byte; vectors as float32 bytes.

    `agent_id` is None for a concept. `hits_by_day` counts the searches that found it, by day
    (access_counters.day_of), while those counts are kept. `former` marks an earlier revision.
    """

    agent_id: str | None
    memory_id: str
    seq: int
    fields: dict[str, bytes] = field(repr=False)
    hits_by_day: Mapping[int, int] = field(default_factory=dict)
    former: ConceptRevision | None = None


def with_vectors(
    fields: Mapping[str, bytes], convert: Callable[[bytes], bytes]
) -> dict[str, bytes]:
    """Return the fields of a hash with its vectors converted."""
    return {n: convert(value) if n in VECTOR_FIELDS else value for n, value in fields.items()}


FORMAT = "coinswarm-memory"
VERSION = 2
_READABLE_VERSIONS = (1, VERSION)
_BINARY_FIELDS = {"digest"}


@dataclass(frozen=True, slots=True)
class Header:
    """Describes the file. `agent_id` None means the whole memory. `created_at` is unix seconds."""

    dimension: int
    agent_id: str | None
    created_at: float
    version: int = VERSION
    format: str = FORMAT

    def as_json(self) -> bytes:
        """Return the header as one JSON object."""
        return orjson.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Tally:
    """The totals of the rows so far. `crc32` covers their NDJSON lines, line ends included.

    `semantic_former` counts earlier revisions of concepts.
    """

    episodic: int = 0
    semantic: int = 0
    crc32: int = 0
    semantic_former: int = 0

    @property
    def memories(self) -> int:
        """Return the number of experiences and concepts."""
        return self.episodic + self.semantic

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return self.memories + self.semantic_former

    def plus(self, row: ExportRow, line: bytes) -> "Tally":
        """Return the tally with one more row."""
        crc32 = zlib.crc32(line, self.crc32)
        if row.former is not None:
            return replace(self, semantic_former=self.semantic_former + 1, crc32=crc32)
        if row.agent_id is None:
            return replace(self, semantic=self.semantic + 1, crc32=crc32)
        return replace(self, episodic=self.episodic + 1, crc32=crc32)

    def as_json(self) -> bytes:
        """Return the tally as one JSON object."""
        return orjson.dumps(asdict(self))


_HEADER = TypeAdapter(Header)
_TALLY = TypeAdapter(Tally)


def parse_header(text: bytes, *, source: str) -> Header:
    """Return the header of the file `source`. Raise UnfitFile if it is invalid or too new."""
    found = _json_object(text)
    if found.get("format") != FORMAT:
        raise UnfitFile(f"{source} is not an export of this service: give another file.")
    if found.get("version") not in _READABLE_VERSIONS:
        raise UnfitFile(
            f"{source} has format version {found.get('version')}, and this program reads versions "
            f"up to {VERSION}: import it with the release that wrote it."
        )
    try:
        return _HEADER.validate_json(Header(**found).as_json(), strict=True)
    except (TypeError, ValidationError) as error:
        raise UnfitFile(f"The header of {source} is damaged: export again.") from error


def parse_tally(text: bytes, *, source: str) -> Tally:
    """Return the totals at the end of the file called `source`. Raise UnfitFile."""
    try:
        return _TALLY.validate_json(Tally(**_json_object(text)).as_json(), strict=True)
    except (TypeError, ValidationError) as error:
        raise UnfitFile(f"The end of {source} is damaged: export again.") from error


def require_same(found: Tally, promised: Tally, *, source: str) -> None:
    """Raise UnfitFile if the rows do not match the file's totals."""
    if found.rows != promised.rows:
        raise UnfitFile(
            f"{source} holds {found.rows} memories, its end says {promised.rows}: it is damaged, "
            "export again."
        )
    if found != promised:
        raise UnfitFile(f"The checksum of {source} is wrong: it is damaged, export again.")


def require_dimension(header: Header, dimension: int, *, source: str) -> None:
    """Raise UnfitFile if the file's vectors do not fit the service's dimension."""
    if header.dimension != dimension:
        raise UnfitFile(
            f"The vectors of {source} have {header.dimension} numbers, MEMORY_DIMENSION is "
            f"{dimension}: set it to {header.dimension} on a Redis of its own."
        )


def encode_row(row: ExportRow) -> bytes:
    """Return one NDJSON line with its line end. The same row always gives the same bytes."""
    texts, raw = split_fields(row.fields)
    record = row.fields.get("record", b"")
    body: dict[str, object] = {
        "memory": kind_of(row),
        "agent_id": row.agent_id,
        "id": row.memory_id,
        "seq": row.seq,
        "record": orjson.Fragment(record) if _is_canonical(record) else _latin1(record),
        "vectors": {n: vectors.to_base64(row.fields[n]) for n in sorted(_vectors(row.fields))},
        "fields": texts,
        "bytes": {name: _base64(value) for name, value in raw.items()},
    }
    if row.hits_by_day:
        body["hits_by_day"] = {str(day): hits for day, hits in row.hits_by_day.items()}
    if row.former is not None:
        body["former"] = row.former
    return orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)


def kind_of(row: ExportRow) -> str:
    """Return the row's kind, in the file's words."""
    if row.former is not None:
        return "semantic_former"
    return "semantic" if row.agent_id is None else "episodic"


def split_fields(fields: Mapping[str, bytes]) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return the text fields and the binary fields beside record and vectors, by name."""
    texts: dict[str, str] = {}
    raw: dict[str, bytes] = {}
    for name in sorted(fields.keys() - _vectors(fields) - {"record"}):
        text = None if name in _BINARY_FIELDS else _text(fields[name])
        if text is None:
            raw[name] = fields[name]
        else:
            texts[name] = text
    return texts, raw


def decode_row(line: bytes) -> ExportRow:
    """Return the row of an NDJSON line. Raise ValueError, KeyError or TypeError if invalid."""
    body = orjson.loads(line)
    record = body["record"]
    fields = {
        "record": record.encode("latin-1") if isinstance(record, str) else orjson.dumps(record),
        **{name: base64.b64decode(text, validate=True) for name, text in body["vectors"].items()},
        **{name: text.encode() for name, text in body["fields"].items()},
        **{name: base64.b64decode(text, validate=True) for name, text in body["bytes"].items()},
    }
    hits = {int(day): int(count) for day, count in body.get("hits_by_day", {}).items()}
    return ExportRow(
        body["agent_id"], body["id"], body["seq"], fields, hits, decode_former(body.get("former"))
    )


def decode_former(found: Mapping[str, Any] | None) -> ConceptRevision | None:
    """Return the revision that a row describes, if any. Raise ValueError, KeyError or TypeError."""
    if found is None:
        return None
    return ConceptRevision(
        number=int(found["number"]),
        of_changes=int(found["of_changes"]),
        changed_at=str(found["changed_at"]),
        expires_at=int(found["expires_at"]),
    )


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _vectors(fields: Mapping[str, bytes]) -> set[str]:
    return {name for name in VECTOR_FIELDS if name in fields}


def _is_canonical(record: bytes) -> bool:
    """Return whether decoding and encoding this JSON gives the same bytes."""
    try:
        return orjson.dumps(orjson.loads(record)) == record
    except orjson.JSONDecodeError:
        return False


def _latin1(raw: bytes) -> str:
    """Return any bytes as text, one character each."""
    return raw.decode("latin-1")


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _base64(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).decode("ascii")
