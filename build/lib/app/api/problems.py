"""How errors stand in OpenAPI."""

from http import HTTPStatus
from typing import Any

from app.answer_schemas import Problem

MEDIA_TYPE = "application/problem+json"


def of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that can answer with these error statuses.

    Any route may also find the body too large (413), the deadline over (504) or Redis away (503).
    """
    return {status: _problem(status) for status in sorted({*statuses, 413, 503, 504})}


def refused() -> dict[str, dict[str, Any]]:
    """`responses` of every route that asks for a key."""
    return {str(status): _problem(status) for status in (401, 403)}


def _problem(status: int) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": schema}},
    }
