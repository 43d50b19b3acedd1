"""How errors stand in OpenAPI."""

from typing import Any

MEDIA_TYPE = "application/problem+json"


def of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that can answer with these error statuses.

    Any route may also find the body too large (413), the deadline over (504) or Redis away (503).
    What they hold is filled in with the document (app/api/openapi.py).
    """
    return {status: {} for status in sorted({*statuses, 413, 503, 504})}
