"""Checks that the service would have stored a row, by the rules of its own routes.

The record is checked as the body of a store. The fields beside it, which the indexes need, must
agree with the record.
"""

import math
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from app import vectors
from app.contract.fields import AgentId, Tag
from app.contract.parse import parse_item
from app.contract.requests import EpisodicStore, SemanticStore
from app.errors import InvalidInput
from app.storage.episodic import horizons_field
from app.storage.query_syntax import stored_tag, truth_tag
from app.storage.schema import semantic_schema, shared_episodic_schema
from app.transfer.file_format import SEQ, VECTOR_FIELDS, ConceptRevision, ExportRow
from app.vectors import VectorFormat

DIGEST_BYTES = 16
_ANY = VectorFormat(1)
MAX_COUNT = 2**53
_MADE_BY_THE_SERVICE = {
    "recorded_at",
    "outcome_recorded_at",
    "quality_at",
    "quality_recorded_at",
    "priority_recorded_at",
    "priority_at",
    "created_at",
}
"""Numbers of a record that the service sets, not the caller."""

_COUNTED = {"access_count", "last_accessed", "versions", "past_from", "changed_at"}
_OF_A_FORMER_CONTENT = {"created_at", "valid_from", "valid_until"}
"""Numbers beside a revision's record."""

_INDEXED = {
    *(name for name, _ in shared_episodic_schema(_ANY).fields),
    *(name for name, _ in semantic_schema(_ANY).fields),
}
"""Fields that searches rely on. A hash's other fields are foreign, and are restored as they
were."""

_NEVER_INDEXED = {"id", "metadata", "pinned", "scale", "outcomes"}
_AGENT_ID: TypeAdapter[str] = TypeAdapter(AgentId)
_MEMORY_ID: TypeAdapter[str] = TypeAdapter(Tag)


def check_row(row: ExportRow, stored_as: VectorFormat) -> None:
    """Raise ValueError for a row that the service would not have stored."""
    _check_names(row)
    record = _record(row)
    _check_vectors(row, stored_as)
    _check_by_the_route(row, record)
    _check_beside(row, record)
    if row.former is not None:
        _check_former(row, row.former)
    if row.hits_by_day and (row.agent_id is not None or not _are_counts(row.hits_by_day)):
        raise ValueError("its hits_by_day are not allowed")


def _check_names(row: ExportRow) -> None:
    try:
        _MEMORY_ID.validate_python(row.memory_id, strict=True)
        if row.agent_id is not None:
            _AGENT_ID.validate_python(row.agent_id, strict=True)
    except ValidationError as error:
        raise ValueError("its id or agent_id is not allowed") from error
    if type(row.seq) is not int or not 0 < row.seq < MAX_COUNT:
        raise ValueError(f"{SEQ} must be a whole number above 0")
    if SEQ in row.fields:
        raise ValueError(f"{SEQ} may not be among its fields")


def _record(row: ExportRow) -> dict[str, Any]:
    try:
        record = orjson.loads(row.fields["record"])
    except orjson.JSONDecodeError as error:
        raise ValueError("its record is not a JSON object") from error
    if not isinstance(record, dict):
        raise ValueError("its record is not a JSON object")  # noqa: TRY004 - the row's, not a type
    owner = {} if row.agent_id is None else {"agent_id": row.agent_id}
    for name, value in {"id": row.memory_id, **owner}.items():
        if record.get(name) != value:
            raise ValueError(f"its record names another {name}")
    return record


def _check_vectors(row: ExportRow, stored_as: VectorFormat) -> None:
    required = "concept_vector" if row.agent_id is None else "state_vector"
    if required not in row.fields:
        raise ValueError(f"it has no {required}")
    for name in VECTOR_FIELDS:
        if name not in row.fields:
            continue
        try:
            stored_as.require_fit(vectors.check(row.fields[name]))
        except ValueError as error:
            raise ValueError(f"{name} {error}") from error


def _check_by_the_route(row: ExportRow, record: Mapping[str, Any]) -> None:
    for name in _MADE_BY_THE_SERVICE & record.keys():
        if not _is_number(record[name]):
            raise ValueError(f"{name} must be a number")
    body = {name: value for name, value in record.items() if name not in _MADE_BY_THE_SERVICE}
    if isinstance(body.get("outcomes"), list):
        body["outcomes"] = [_as_given(outcome) for outcome in body["outcomes"]]
    for name in VECTOR_FIELDS:
        if name in row.fields:
            body[name] = vectors.to_base64(row.fields[name])
    try:
        parse_item(SemanticStore if row.agent_id is None else EpisodicStore, body)
    except InvalidInput as error:
        raise ValueError(error.detail.removesuffix(".")) from error


def _as_given(outcome: object) -> object:
    """Return an outcome without the fields that the service adds."""
    if not isinstance(outcome, dict):
        return outcome
    if not _is_number(outcome.get("recorded_at", 0)):
        raise ValueError("recorded_at of an outcome must be a number")
    return {name: value for name, value in outcome.items() if name != "recorded_at"}


def _check_beside(row: ExportRow, record: Mapping[str, Any]) -> None:
    """Raise ValueError unless every field of the index is present and agrees with the record."""
    # An operator may pin a memory by hand, in the field alone.
    beside = row.fields.keys() - {"record", "digest", "pinned", "horizons", *VECTOR_FIELDS}
    if row.fields.get("horizons", b"").decode() != horizons_field(record.get("outcomes", ())):
        raise ValueError("horizons is not what its record says")
    counted = _counted_fields(row)
    for name in beside:
        text = row.fields[name].decode("utf-8", "replace")
        if name in counted:
            if not _is_number_text(text):
                raise ValueError(f"{name} must be a number")
        elif not _says(text, record.get(name)) and (name in record or name in _INDEXED):
            raise ValueError(f"{name} is not what its record says")
    for name, value in record.items():
        is_indexed = name not in _NEVER_INDEXED and value is not None
        if is_indexed and value is not False and name not in beside and name not in counted:
            raise ValueError(f"it has no field {name}")
    if row.former is None and len(row.fields.get("digest", b"")) != DIGEST_BYTES:
        raise ValueError(f"its digest must have {DIGEST_BYTES} bytes")


def _counted_fields(row: ExportRow) -> set[str]:
    if row.agent_id is not None:
        return set()
    return _COUNTED | {"created_at"} if row.former is None else _OF_A_FORMER_CONTENT


def _says(text: str, value: object) -> bool:
    if isinstance(value, bool) or (value is None and text == truth_tag(False)):
        return text == truth_tag(bool(value))
    if isinstance(value, int | float):
        return _is_number_text(text) and float(text) == value
    return isinstance(value, str) and bool(value) and text == stored_tag(value)


def _check_former(row: ExportRow, former: ConceptRevision) -> None:
    if row.agent_id is not None or row.hits_by_day:
        raise ValueError("only a concept has earlier revisions, and those have no hits_by_day")
    if not 1 <= former.number <= former.of_changes < MAX_COUNT:
        raise ValueError("the number of its change is not allowed")
    if not 0 <= former.expires_at < MAX_COUNT or not _is_number_text(former.changed_at):
        raise ValueError("the time of its change or of its end is not allowed")
    for name in _OF_A_FORMER_CONTENT:
        if name not in row.fields:
            raise ValueError(f"it has no field {name}")


def _are_counts(hits_by_day: Mapping[int, int]) -> bool:
    return all(0 <= d < MAX_COUNT and 0 < n < MAX_COUNT for d, n in hits_by_day.items())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_number_text(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
