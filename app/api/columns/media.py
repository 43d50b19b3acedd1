"""Tells which requests send or accept columns, and imports the library for them on first use."""

from typing import Any

from fastapi import Request

from app.api.body import HEADERS
from app.extras.load import load_in_thread

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
COLUMNS: dict[str, Any] = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
"""The OpenAPI schema of an answer as columns: one record batch (docs/reference/columns.md)."""

OCTETS = "application/octet-stream"
STREAM: dict[str, Any] = {**COLUMNS, OCTETS: COLUMNS[MEDIA_TYPE]}
"""The OpenAPI schema of an answer that is always columns."""

_MEDIA, _OCTETS = MEDIA_TYPE.encode(), OCTETS.encode()


def wants_columns(request: Request) -> bool:
    """Return whether the caller accepts columns as an answer."""
    return _MEDIA in request.scope[HEADERS].get(b"accept", b"")


def stream_type(request: Request) -> str:
    """Return the media type of an answer that is always columns.

    Arrow's own, unless the caller asks for plain bytes: most code generators know only those.
    """
    accepted: bytes = request.scope[HEADERS].get(b"accept", b"")
    return OCTETS if _OCTETS in accepted and _MEDIA not in accepted else MEDIA_TYPE


def sends_columns(request: Request) -> bool:
    """Return whether the body is sent as columns."""
    given: bytes = request.scope[HEADERS].get(b"content-type", b"")
    return given.partition(b";")[0].strip().lower() == _MEDIA


async def arrow() -> Any:
    """Return pyarrow. Its import takes a tenth of a second, so the event loop does not wait."""
    return await load_in_thread("pyarrow")
