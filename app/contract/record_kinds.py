"""The column type of each field of an experience's record."""

import types
from typing import Any, Union, get_args, get_origin

from app.contract.answers import EpisodicRecord

VECTOR_FIELDS = ("state_vector", "next_state_vector")
_KINDS = {str: "string", float: "float64", int: "int64", bool: "bool_"}


def _kind(annotation: Any) -> str:
    """Return the name of an Arrow type, or `json` for JSON text."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return _KINDS.get(annotation, "json")


KINDS = {
    name: _kind(field.annotation)
    for name, field in EpisodicRecord.model_fields.items()
    if name not in VECTOR_FIELDS
}
"""The kind of each field, by its name: string, float64, int64, bool_ or json."""
